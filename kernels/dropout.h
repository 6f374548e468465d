/* Dropout's draws (Srivastava et al., Journal of Machine Learning Research 15, 2014), one for each element of a
 * residual stream: a pure function of (seed, place, sequence, position, channel), by Philox. The bits are the same on
 * every backend, for any fleet, micro-batch and number of workers, and after a resume. The backward pass draws them
 * again; nothing is stored.
 *
 * A row of `width` channels takes ceil(width / 4) blocks of four words: channel c has word c / blocks of block
 * c % blocks. So neighbouring lanes draw neighbouring blocks. */
#ifndef EAB_KERNELS_DROPOUT_H
#define EAB_KERNELS_DROPOUT_H

#include "../tasks/philox.h"

enum { EAB_DROPOUT_KEY = 0x64726F70 }; /* no key of weights or of a level's sequences */

EAB_HOST_DEVICE static inline eab_philox_block eab_dropout_counter(uint32_t place, uint64_t sequence, uint32_t position,
                                                                   uint32_t block) {
    const eab_philox_block counter = {{position << 8 | block, place, (uint32_t)sequence, (uint32_t)(sequence >> 32)}};
    return counter;
}

EAB_HOST_DEVICE static inline eab_philox_block eab_dropout_block(uint32_t seed, uint32_t place, uint64_t sequence,
                                                                 uint32_t position, uint32_t block) {
    return eab_philox(eab_dropout_counter(place, sequence, position, block), seed, EAB_DROPOUT_KEY);
}

/* An element is kept where its word is at least this. */
static inline uint32_t eab_dropout_threshold(double probability) { return (uint32_t)(probability * 4294967296.0); }

#endif
