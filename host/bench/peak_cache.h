/* Measured peaks, kept for a day in peaks.txt of $XDG_CACHE_HOME/eabench, or of ~/.cache/eabench: a line for each figure,
 * "KEY<tab>SECONDS SINCE 1970<tab>VALUE<tab>DEVICE". A convenience: where it cannot be read or written, figures are just
 * measured again. */
#ifndef EAB_BENCH_PEAK_CACHE_H
#define EAB_BENCH_PEAK_CACHE_H

/* The figure `key` of the device so described; 0 where there is none that is from the last day and makes sense. */
double eab_peak_cache_find(const char *device, const char *key);

/* Keeps it, in the place of an older one, if it makes sense. */
void eab_peak_cache_keep(const char *device, const char *key, double value);

#endif
