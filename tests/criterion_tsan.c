/* Makes Criterion run under ThreadSanitizer; linked into the tests of that build only.
 *
 * Criterion's sandbox (BoxFort) maps its arena at 0x200000000000 + r * 2^24 with r from rand_r(), nearly always where
 * ThreadSanitizer allows no mapping, and the tests end before they begin. This rand_r, which stands in front of the C
 * library's, draws r so that the arena lies in 0x550000000000..0x553fffffffff: ThreadSanitizer allows it on x86-64, and
 * it is below every program's own image. Elsewhere the arena's addresses stay as they are. */
#include <stdlib.h>

#ifdef __x86_64__
__attribute__((visibility("default"))) int rand_r(unsigned int *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return 0x350000 + (int)(*seed >> 18);
}
#endif
