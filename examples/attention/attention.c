/* Causal attention on random data, forward and backward, with libeabench: every mechanism on the CPU, compared with the
 * float64 reference. Prints one line for each mechanism; exit code 1 if an error is above 1e-4. */
#include <eabench/attention.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 2, HEADS = 4, CONTEXT = 100, HEAD_DIM = 16, ROWS = BATCH * HEADS * CONTEXT, ELEMENTS = ROWS * HEAD_DIM };

enum { Q, K, V, DOUT, INPUTS, OUT = INPUTS, DQ, DK, DV, BUFFERS };

static float inputs[INPUTS][ELEMENTS];

/* Forward, then backward for the gradient inputs[DOUT]; writes buffers[OUT .. DV]. Returns 0 or an eab_status. */
static int run(const char *backend, const eab_attention *attention, float (*buffers)[ELEMENTS]) {
    static float row_stat[ROWS];
    eab_device *device;
    int status = eab_device_open(backend, 0, &device);
    if (status) return status;
    status = eab_attention_forward(device, attention, inputs[Q], inputs[K], inputs[V], buffers[OUT], row_stat);
    if (!status)
        status = eab_attention_backward(device, attention, inputs[Q], inputs[K], inputs[V], buffers[OUT], row_stat,
                                        inputs[DOUT], buffers[DQ], buffers[DK], buffers[DV]);
    if (!status) status = eab_device_synchronize(device);
    eab_device_close(device);
    return status;
}

/* ||x - y|| / ||y|| */
static double distance(const float *x, const float *y) {
    double difference = 0, size = 0;
    for (int i = 0; i < ELEMENTS; i++) {
        difference += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        size += (double)y[i] * y[i];
    }
    return sqrt(difference / size);
}

int main(void) {
    static float fast[BUFFERS][ELEMENTS], exact[BUFFERS][ELEMENTS];
    const float slopes[HEADS] = {0.25f, 0.0625f, 0.015625f, 0.00390625f};
    int worst = 0;
    for (int i = 0; i < INPUTS; i++)
        for (int j = 0; j < ELEMENTS; j++) inputs[i][j] = (float)(2.0 * rand() / RAND_MAX - 1);
    for (int32_t mechanism = 0; eab_mechanism_name(mechanism); mechanism++) {
        eab_attention attention = {0}; /* scale 0: the mechanism's default */
        attention.batch = BATCH;
        attention.heads = HEADS;
        attention.context = CONTEXT;
        attention.head_dim = HEAD_DIM;
        attention.mechanism = mechanism;
        attention.dtype = EAB_F32;
        attention.causal = 1;
        attention.slopes = slopes;
        attention.mix = 0.5f; /* of mechanism "mix" */
        if (run("cpu", &attention, fast) || run("reference", &attention, exact)) {
            fprintf(stderr, "%s\n", eab_last_error());
            return 1;
        }
        printf("%-10s", eab_mechanism_name(mechanism));
        for (int i = OUT; i < BUFFERS; i++) {
            static const char *const names[BUFFERS] = {[OUT] = "out", [DQ] = "dq", [DK] = "dk", [DV] = "dv"};
            const double error = distance(fast[i], exact[i]);
            printf("  %s %.1e", names[i], error);
            if (!(error < 1e-4)) worst = 1;
        }
        puts("  relative to the reference");
    }
    return worst;
}
