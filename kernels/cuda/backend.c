/* The CUDA backend's table, over the operations of this folder. tests/simt builds the same files for the processor: there the
 * backend is called "simt". */
#include "../bench.h"
#include "operations.h"

static const eab_bench_table bench = {
#ifndef EAB_SIMT
    .burn = eab_cuda_burn,
#endif
    .event_create = eab_cuda_event_create,
    .event_free = eab_cuda_event_free,
    .event_record = eab_cuda_event_record,
    .event_elapsed_s = eab_cuda_event_elapsed_s,
    .scores_forward = eab_cuda_scores_forward,
    .scores_backward = eab_cuda_scores_backward,
};

extern const eab_backend eab_backend_cuda;
const eab_backend eab_backend_cuda = {
#ifdef EAB_SIMT
    .name = "simt",
#else
    .name = "cuda",
#endif
    .dtype = "float32",
    .real_bytes = sizeof(float),
    .precisions = 1u << EAB_PRECISION_TF32 | 1u << EAB_PRECISION_BF16,
    .count = eab_cuda_count,
    .absent = eab_cuda_absent,
    .open = eab_cuda_open,
    .close = eab_cuda_close,
    .describe = eab_cuda_describe,
    .set_stream = eab_cuda_set_stream,
    .sync_every_kernel = eab_cuda_be_careful,
    .allocate = eab_cuda_allocate,
    .release = eab_cuda_release,
    .zero = eab_cuda_zero,
    .copy = eab_cuda_copy_bytes,
    .upload = eab_cuda_upload,
    .download = eab_cuda_download,
    .write_reals = eab_cuda_write_reals,
    .read_reals = eab_cuda_read_reals,
    .synchronize = eab_cuda_synchronize,
    .gemm = eab_cuda_gemm,
    .gemm_finishes = true,
    .norm_forward = eab_cuda_norm_forward,
    .norm_backward = eab_cuda_norm_backward,
    .qk_norm_forward = eab_cuda_qk_norm_forward,
    .qk_norm_backward = eab_cuda_qk_norm_backward,
    .activation_forward = eab_cuda_activation_forward,
    .activation_backward = eab_cuda_activation_backward,
    .add = eab_cuda_add,
    .column_sum = eab_cuda_column_sum,
    .rotate = eab_cuda_rotate,
    .attention_forward = eab_cuda_model_attention_forward,
    .attention_backward = eab_cuda_model_attention_backward,
    .embed_forward = eab_cuda_embed_forward,
    .embed_backward = eab_cuda_embed_backward,
    .loss = eab_cuda_loss,
    .optimizer_step = eab_cuda_optimizer_step,
    .generate = eab_cuda_generate,
    .feed_back = eab_cuda_feed_back,
    .attention_block_forward = eab_generic_attention_block_forward,
    .attention_block_backward = eab_generic_attention_block_backward,
    .mlp_block_forward = eab_generic_mlp_block_forward,
    .mlp_block_backward = eab_generic_mlp_block_backward,
    .head_forward = eab_generic_head_forward,
    .head_backward = eab_generic_head_backward,
    .zero_members = eab_cuda_zero_members,
    .copy_members = eab_cuda_copy_members,
    .records = eab_cuda_records,
    .record_begin = eab_cuda_record_begin,
    .record_end = eab_cuda_record_end,
    .replay = eab_cuda_replay,
    .forget = eab_cuda_forget,
    .capacity = eab_cuda_capacity,
    .attention_half_forward = eab_cuda_half_forward,
    .attention_half_backward = eab_cuda_half_backward,
    .supports = eab_cuda_supports,
    .bench = &bench,
};
