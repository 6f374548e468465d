/* What a cell is trained and measured on: one level, or the parts of a mixture. Callers need not
 * distinguish the two. */
#ifndef EAB_SPEC_CELL_TASK_H
#define EAB_SPEC_CELL_TASK_H

#include "config.h"

/* Room for the longest level's name. */
enum { EAB_LEVEL_NAME_SIZE = EAB_MIXTURE_TEXT_SIZE + 32 };

/* The number of parts (1 for a plain task), and each of them. */
int32_t eab_config_part_count(const eab_config *config);
const eab_level *eab_config_part(const eab_config *config, int32_t part);

/* The task token of the first part; those of the other parts follow. -1: sequences have no task token. */
int32_t eab_config_cue_token(const eab_config *config);

/* Input positions of a part's own sequences: one less than `context` after a task token. */
int32_t eab_config_part_context(const eab_config *config);

/* Whether sequences of this part are set apart for evaluation (the option `heldout`; auto is resolved part by part). */
bool eab_config_part_held_out(const eab_config *config, int32_t part);

/* How many other levels the trained model is evaluated at (eab_task.evaluated; none for a mixture), and one of them. */
int32_t eab_config_evaluated_count(const eab_config *config);
eab_level eab_config_evaluated(const eab_config *config, int32_t index);

/* Whether `heldout` sets sequences of this level apart; `auto` is resolved for the level. */
bool eab_config_holds_out(const eab_config *config, const eab_level *level);

/* Writes the parts to levels[first ...], whether they are held out to held_out[first ...], and returns their place. */
eab_parts eab_config_list_parts(const eab_config *config, int32_t first, eab_level *levels, uint8_t *held_out);

/* How many of the first `sequences` that training shows are of this part, repetitions counted. */
int64_t eab_config_part_sequences(const eab_config *config, int32_t part, int64_t sequences);

/* The family's name or "mixture", and the level's name, such as "basis=8 delay=4", or the mixture's text and its
 * cue. */
const char *eab_config_task_name(const eab_config *config);
void eab_config_level_name(const eab_config *config, char *name, size_t size);

/* Size of the vocabulary: all parts share the tokens of the widest part, and task tokens follow. */
int32_t eab_config_vocab(const eab_config *config);

/* log2 of the number of distinct sequences, of all parts together: log2 of the sum of 2^bits. Exact with task tokens;
 * an upper bound without, where parts may have sequences in common. */
double eab_config_complexity_bits(const eab_config *config);

/* Accuracy of a uniform guess of a determined token among its part's tokens; every part has the same weight. */
double eab_config_chance_accuracy(const eab_config *config);

#endif
