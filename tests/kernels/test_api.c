/* The public interface: its results, and the status and error line of each misuse. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guarded.h"
#include "kernels/backend.h"
#include "kernels/cpu/isa.h"
#include "kernels/mechanism.h"

enum { BATCH = 2, HEADS = 2, CONTEXT = 9, HEAD_DIM = 5, ROWS = BATCH * HEADS * CONTEXT, COUNT = ROWS * HEAD_DIM };

enum { Q, K, V, OUT, DOUT, DQ, DK, DV, BUFFERS };

typedef struct {
    eab_device *device;
    eab_attention attention;
    float slopes[HEADS];
    guarded buffers[BUFFERS], row_stat;
} fixture;

static void fixture_open(fixture *f, const char *backend) {
    *f = (fixture){.attention = {.batch = BATCH,
                                 .heads = HEADS,
                                 .context = CONTEXT,
                                 .head_dim = HEAD_DIM,
                                 .mechanism = eab_mechanism_from_name("ea"),
                                 .dtype = EAB_F32,
                                 .causal = 1},
                   .slopes = {0.5f, 0.25f}};
    f->attention.slopes = f->slopes;
    cr_assert(!eab_device_open(backend, 0, &f->device), "%s", eab_last_error());
    for (int i = 0; i < BUFFERS; i++) {
        f->buffers[i] = guarded_new(COUNT);
        if (i != OUT && i < DQ) guarded_normal(&f->buffers[i], (uint32_t)i, 1);
    }
    f->row_stat = guarded_new(ROWS);
}

static void fixture_close(fixture *f) {
    eab_device_close(f->device);
    for (int i = 0; i < BUFFERS; i++) guarded_free(&f->buffers[i]);
    guarded_free(&f->row_stat);
}

static int forward(fixture *f) {
    return eab_attention_forward(f->device, &f->attention, f->buffers[Q].data, f->buffers[K].data, f->buffers[V].data,
                                 f->buffers[OUT].data, f->row_stat.data);
}

static int backward(fixture *f) {
    return eab_attention_backward(f->device, &f->attention, f->buffers[Q].data, f->buffers[K].data, f->buffers[V].data,
                                  f->buffers[OUT].data, f->row_stat.data, f->buffers[DOUT].data, f->buffers[DQ].data,
                                  f->buffers[DK].data, f->buffers[DV].data);
}

Test(api, cpu_agrees_with_reference) {
    for (int32_t mechanism = 0; eab_mechanism_name(mechanism); mechanism++) {
        fixture cpu, reference;
        fixture_open(&cpu, "cpu");
        fixture_open(&reference, "reference");
        cpu.attention.mechanism = reference.attention.mechanism = mechanism;
        cpu.attention.mix = reference.attention.mix = 0.3f;
        cr_assert(!forward(&cpu) && !backward(&cpu) && !eab_device_synchronize(cpu.device), "%s", eab_last_error());
        cr_assert(!forward(&reference) && !backward(&reference), "%s", eab_last_error());
        for (int i = 0; i < BUFFERS; i++) {
            cr_expect(guarded_intact(&cpu.buffers[i]) && guarded_intact(&reference.buffers[i]));
            for (int j = 0; j < COUNT; j++)
                cr_expect_float_eq(cpu.buffers[i].data[j], reference.buffers[i].data[j], 2e-5f, "%s buffer %d",
                                   eab_mechanism_name(mechanism), i);
        }
        for (int j = 0; j < ROWS; j++) cr_expect_float_eq(cpu.row_stat.data[j], reference.row_stat.data[j], 2e-5f);
        fixture_close(&cpu);
        fixture_close(&reference);
    }
}

Test(api, scale_zero_is_the_default_and_row_stat_is_optional) {
    fixture f, g;
    fixture_open(&f, "cpu");
    fixture_open(&g, "cpu");
    f.attention.mechanism = g.attention.mechanism = eab_mechanism_from_name("dpa");
    g.attention.scale = (float)(1 / sqrt((double)HEAD_DIM));
    cr_assert(!forward(&f));
    cr_assert(!eab_attention_forward(g.device, &g.attention, g.buffers[Q].data, g.buffers[K].data, g.buffers[V].data,
                                     g.buffers[OUT].data, NULL));
    cr_expect(same_floats(f.buffers[OUT].data, g.buffers[OUT].data, COUNT));
    cr_expect(guarded_untouched(g.row_stat.data[0]));
    fixture_close(&f);
    fixture_close(&g);
}

/* ---- misuse ------------------------------------------------------------------------------------------------------ */

static void expect_failure(int status, int wanted, const char *part) {
    cr_expect_eq(status, wanted, "status %d for: %s", status, part);
    cr_expect(strstr(eab_last_error(), part), "\"%s\" does not say \"%s\"", eab_last_error(), part);
    cr_expect(!strchr(eab_last_error(), '\n'));
}

Test(api, devices) {
    eab_device *device = (eab_device *)1;
    expect_failure(eab_device_open("gpu", 0, &device), EAB_NO_DEVICE,
                   "\"gpu\" is unknown; allowed: cpu, cuda, reference");
    cr_expect_null(device);
    expect_failure(eab_device_open(NULL, 0, &device), EAB_BAD_INPUT, "backend is NULL");
    expect_failure(eab_device_open("cpu", 0, NULL), EAB_BAD_INPUT, "device is NULL");
    expect_failure(eab_device_open("cpu", 7, &device), EAB_NO_DEVICE, "no device 7");
    expect_failure(eab_device_open("cpu", -1, &device), EAB_NO_DEVICE, "no device -1");
    if (eab_backend_from_name("cuda")->not_built)
        expect_failure(eab_device_open("cuda", 0, &device), EAB_NO_DEVICE, "\"cuda\" was not built");
    expect_failure(eab_device_synchronize(NULL), EAB_BAD_INPUT, "device is NULL");
    expect_failure(eab_device_set_stream(NULL, NULL), EAB_BAD_INPUT, "device is NULL");
    eab_device_close(NULL);
    cr_assert(!eab_device_open("cpu", 0, &device));
    cr_expect_eq(eab_device_set_stream(device, NULL), EAB_OK);
    eab_device_close(device);
}

Test(api, backends_are_listed) {
    int count = 0;
    while (eab_backend_at(count)) count++;
    cr_expect_geq(count, 3);
    cr_expect_null(eab_backend_at(-1));
    cr_expect_null(eab_backend_from_name("nothing"));
    cr_expect_null(eab_backend_from_name(NULL));
}

#define MISUSE(change, part)                                                                  \
    do {                                                                                      \
        fixture f;                                                                            \
        fixture_open(&f, "cpu");                                                              \
        change;                                                                               \
        expect_failure(forward(&f), EAB_BAD_INPUT, part);                                     \
        expect_failure(backward(&f), EAB_BAD_INPUT, part);                                    \
        cr_expect(f.buffers[OUT].data == NULL || guarded_untouched(f.buffers[OUT].data[0]) || \
                  strstr(part, "overlaps"));                                                  \
        f.buffers[OUT].data = NULL;                                                           \
        fixture_close(&f);                                                                    \
    } while (0)

Test(api, attention_arguments) {
    MISUSE(f.attention.batch = 0, "batch = 0; allowed: 1..");
    MISUSE(f.attention.heads = -2, "heads = -2; allowed: 1..");
    MISUSE(f.attention.context = 0, "context = 0; allowed: 1..");
    MISUSE(f.attention.head_dim = 0, "head_dim = 0; allowed: 1..256");
    MISUSE(f.attention.head_dim = 257, "head_dim = 257; allowed: 1..256");
    MISUSE((f.attention.batch = f.attention.heads = INT32_MAX, f.attention.context = 65536), "is too large");
    MISUSE(f.attention.mechanism = -1, "mechanism = -1; allowed: 0..");
    MISUSE(f.attention.mechanism = EAB_MECHANISM_COUNT, "; allowed: 0..");
    for (int i = 0; i < 4; i++) {
        const float wrong[] = {0, -0.5f, 1, NAN};
        MISUSE((f.attention.mechanism = EAB_MECHANISM_mix, f.attention.mix = wrong[i]), "; allowed: 0.001..0.999");
    }
    MISUSE(f.attention.dtype = 9, "dtype = 9; allowed: EAB_F32");
    MISUSE(f.attention.causal = 2, "causal = 2; allowed: 0, 1");
    MISUSE(f.attention.scale = -1, "scale = -1; allowed: finite");
    MISUSE(f.attention.scale = NAN, "nan; allowed: finite");
    MISUSE(f.attention.scale = INFINITY, "scale = inf; allowed: finite");
    MISUSE(f.slopes[1] = -0.5f, "slopes[1] = -0.5; allowed: finite, at least 0");
    MISUSE(f.slopes[0] = NAN, "slopes[0] = ");
    MISUSE(f.slopes[0] = INFINITY, "slopes[0] = inf; allowed: finite");
}

Test(api, dtypes_that_a_backend_lacks) {
    for (int dtype = EAB_BF16; dtype <= EAB_F16; dtype++)
        for (int backend = 0; backend < 2; backend++) {
            fixture f;
            fixture_open(&f, backend ? "reference" : "cpu");
            f.attention.dtype = dtype;
            expect_failure(forward(&f), EAB_UNSUPPORTED, backend ? "reference: " : "cpu: ");
            expect_failure(backward(&f), EAB_UNSUPPORTED, backend ? "reference: " : "cpu: ");
            fixture_close(&f);
        }
}

static void expect_null_failure(int which, const char *name) {
    fixture f;
    char part[40];
    snprintf(part, sizeof part, "%s is NULL", name);
    fixture_open(&f, "cpu");
    f.buffers[which].data = NULL;
    if (which <= OUT) expect_failure(forward(&f), EAB_BAD_INPUT, part);
    expect_failure(backward(&f), EAB_BAD_INPUT, part);
    fixture_close(&f);
}

Test(api, null_pointers) {
    static const char *const names[BUFFERS] = {"q", "k", "v", "out", "dout", "dq", "dk", "dv"};
    for (int i = 0; i < BUFFERS; i++) expect_null_failure(i, names[i]);
    fixture f;
    fixture_open(&f, "cpu");
    eab_device *device = f.device;
    f.row_stat.data = NULL;
    expect_failure(backward(&f), EAB_BAD_INPUT, "row_stat is NULL");
    f.device = NULL;
    expect_failure(forward(&f), EAB_BAD_INPUT, "device is NULL");
    expect_failure(backward(&f), EAB_BAD_INPUT, "device is NULL");
    f.device = device;
    expect_failure(eab_attention_forward(device, NULL, f.buffers[Q].data, f.buffers[K].data, f.buffers[V].data,
                                         f.buffers[OUT].data, NULL),
                   EAB_BAD_INPUT, "attention is NULL");
    fixture_close(&f);
}

static void expect_overlap(int which, int other, int64_t shift, const char *part) {
    fixture f;
    fixture_open(&f, "cpu");
    f.buffers[which].data = f.buffers[other].data + shift;
    if (which <= OUT) expect_failure(forward(&f), EAB_BAD_INPUT, part);
    if (which >= DQ) expect_failure(backward(&f), EAB_BAD_INPUT, part);
    fixture_close(&f);
}

Test(api, overlaps) {
    expect_overlap(OUT, Q, 0, "out overlaps q");
    expect_overlap(OUT, K, COUNT - 1, "out overlaps k");
    expect_overlap(OUT, V, 7, "out overlaps v");
    expect_overlap(DQ, Q, 0, "dq overlaps q");
    expect_overlap(DK, DOUT, 3, "dk overlaps dout");
    expect_overlap(DV, OUT, 0, "dv overlaps out");
    expect_overlap(DV, DK, 0, "dv overlaps dk");
    fixture f;
    fixture_open(&f, "cpu"); /* inputs may share memory */
    f.buffers[K].data = f.buffers[V].data = f.buffers[Q].data;
    cr_expect_eq(forward(&f), EAB_OK, "%s", eab_last_error());
    f.row_stat.data = f.buffers[OUT].data;
    expect_failure(forward(&f), EAB_BAD_INPUT, "row_stat overlaps out");
    fixture_close(&f);
}

/* ---- the SIMD level ---------------------------------------------------------------------------------------------- */

Test(api, isa_by_name) {
    eab_isa isa = EAB_ISA_COUNT;
    cr_expect(!eab_isa_choose("base", &isa) && isa == EAB_ISA_BASE);
    cr_expect(!eab_isa_choose(NULL, &isa) && eab_isa_available(isa));
    const eab_isa best = isa;
    cr_expect(!eab_isa_choose("", &isa) && isa == best);
    for (int level = 0; level < EAB_ISA_COUNT; level++)
        if (eab_isa_available((eab_isa)level))
            cr_expect(!eab_isa_choose(eab_isa_name((eab_isa)level), &isa) && (int)isa == level);
        else
            expect_failure(eab_isa_choose(eab_isa_name((eab_isa)level), &isa), EAB_BAD_INPUT,
                           "processor or build lacks it");
    expect_failure(eab_isa_choose("sse9", &isa), EAB_BAD_INPUT, "EAB_ISA=sse9 is unknown; allowed: base, avx2, avx512");
    expect_failure(eab_isa_choose("AVX2", &isa), EAB_BAD_INPUT, "EAB_ISA=AVX2 is unknown");
}

Test(api, isa_from_the_environment) { /* each test has its own process */
    eab_device *device;
    setenv("EAB_ISA", "fast", 1);
    expect_failure(eab_device_open("cpu", 0, &device), EAB_BAD_INPUT,
                   "EAB_ISA=fast is unknown; allowed: base, avx2, avx512");
    setenv("EAB_ISA", "base", 1); /* read once */
    expect_failure(eab_device_open("cpu", 0, &device), EAB_BAD_INPUT, "EAB_ISA=fast is unknown");
}
