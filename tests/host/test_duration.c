/* TIMEs of the command line. tests/scripts/test_duration.py reads the same cases in Python. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "host/base/duration.h"

Test(duration, times) {
    static const struct {
        const char *text;
        double seconds;
    } times[] = {{"0", 0},
                 {"90", 90},
                 {"90s", 90},
                 {"1.5h", 5400},
                 {"1h30m", 5400},
                 {"1h30m5s", 5405},
                 {"2d", 172800},
                 {"2d12h", 216000},
                 {"1d1s", 86401},
                 {"90m", 5400},
                 {".5m", 30},
                 {"5.", 5},
                 {"1e-9", 1e-9},
                 {"1E+9", 1e9},
                 {"1e3m", 60000},
                 {"0h", 0},
                 {"0.25h.5m1.5s", 931.5}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        double seconds = -1;
        cr_expect(eab_duration_read(times[i].text, &seconds), "%s", times[i].text);
        cr_expect_eq(seconds, times[i].seconds, "%s: %.17g", times[i].text, seconds);
    }
}

Test(duration, other_texts) {
    static const char *const texts[] = {"",      " ",      "s",          "h30m",  "1h30",  "30m1h",  "1h1h",  "1hm",
                                        "1h-5m", "1h+5m",  "-1",         "+1",    "1 h",   " 1h",    "1h ",   "1H",
                                        "1w",    "1ms",    "1h 5m",      "1:30",  "1,5h",  "1h30m5", "1.2.3", "1e",
                                        "1e5e",  "0x10",   "0x1p3",      "nan",   "inf",   "soon",   ".",     "1-2",
                                        "1e10",  "11575d", "1000000001", "1e999", "1e9s1", "1h\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        double seconds;
        cr_expect_not(eab_duration_read(texts[i], &seconds), "'%s'", texts[i]);
    }
}
