/* Makes Criterion run under ThreadSanitizer; linked into the tests of that build only.
 *
 * Criterion's sandbox (BoxFort) maps its arena at 0x200000000000 + r * 2^24 with r from rand_r(), nearly always where
 * ThreadSanitizer forbids mappings, so the tests fail before they start. This rand_r replaces that of the C library and
 * puts the arena into 0x550000000000..0x553fffffffff, which ThreadSanitizer allows on x86-64 and which is below every
 * program's image. On other processors nothing is replaced. */
#include <stdlib.h>

#ifdef __x86_64__
__attribute__((visibility("default"))) int rand_r(unsigned int *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return 0x350000 + (int)(*seed >> 18);
}
#endif
