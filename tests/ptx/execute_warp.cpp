/* Shuffles, votes and barriers of a warp. schedule.cpp has brought the lanes together. */
#include <algorithm>

#include "executor.h"

namespace ptx {

/* shfl value, b, c, mask. c is clamp | segment mask << 8: the lane's segment has the bits of the mask. */
void Executor::shuffle(Warp &w, const Instruction &i, uint32_t lanes) {
    const uint32_t *const value = source<uint32_t>(w, i.from[0]);
    uint32_t values[32] = {}, in_range = 0;
    each(lanes, [&](int l) {
        const int b = (int)get32(w, i.from[1], l) & 31, c = (int)get32(w, i.from[2], l);
        const int clamp = c & 31, segment = c >> 8 & 31, width = 32 - segment;
        if (width & (width - 1)) finding("shuffle", &f, i.line, "a width of %d, which is no power of 2", width);
        const int lowest = l & segment, highest = lowest | (clamp & ~segment & 31);
        int from = 0;
        bool ok = false;
        switch (i.shuffle) {
            case BUTTERFLY:
                from = l ^ b;
                ok = from <= highest;
                break;
            case SHUFFLE_UP:
                from = l - b;
                ok = from >= highest;
                break;
            case SHUFFLE_DOWN:
                from = l + b;
                ok = from <= highest;
                break;
            case SHUFFLE_INDEX:
                from = lowest | (b & ~segment & 31);
                ok = from <= highest;
                break;
        }
        if (!ok) from = l;
        if (!(lanes >> from & 1))
            finding("shuffle", &f, i.line, "lane %d reads lane %d, which is not among 0x%08x", l, from, lanes);
        values[l] = value[from];
        in_range |= (uint32_t)ok << l;
    });
    each(lanes, [&](int l) { set(w, i.to[0], l, values[l]); });
    if (i.to.size() > 1) set_predicate(w, i.to[1], lanes, in_range);
}

void Executor::vote(Warp &w, const Instruction &i, uint32_t lanes) {
    const uint32_t yes = predicate(w, i.from[0]) & lanes;
    if (i.op == VOTE_BALLOT) each(lanes, [&](int l) { set(w, i.to[0], l, yes); });
    else set_predicate(w, i.to[0], lanes, (i.op == VOTE_ANY ? yes != 0 : yes == lanes) ? ALL_LANES : 0);
}

/* Orders the accesses of its lanes (races.h). */
void Executor::warp_barrier(Warp &w, uint32_t lanes) {
    if (!(w.alive & ~lanes)) {
        w.full_barriers++;
        if (w.parts) memset(&w.order, 0, sizeof w.order);
        w.parts = false;
        return;
    }
    w.parts = true;
    uint16_t joined[32] = {};
    each(lanes, [&](int a) {
        for (int b = 0; b < 32; b++) joined[b] = std::max(joined[b], w.order.met[a][b]);
    });
    each(lanes, [&](int a) { joined[a]++; });
    each(lanes, [&](int a) { memcpy(w.order.met[a], joined, sizeof joined); });
}

} // namespace ptx
