/* Training in parts on the CUDA backend: the bits of training in one, with recorded steps, and with members that leave
 * between checkpoints. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/host/fleet_fixture.h"
#include "tests/host/interrupted.h"

enum { MEMBERS = 3 };

static void expect_parts_are_the_whole(const eab_config *configs, int calls) {
    char folder[] = "/tmp/eab_checkpoint_XXXXXX", path[64];
    eab_cell_result whole[MEMBERS], parts[MEMBERS];
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fleet.ckpt", folder);
    train_in_parts("cuda", 0, 1e6, NULL, MEMBERS, configs, whole);
    const interrupted_story story = train_in_parts("cuda", calls, 1e6, path, MEMBERS, configs, parts);
    cr_expect_gt(story.parts, 2, "%d parts", story.parts);
    cr_expect_eq(story.notes, 0, "%s", story.note);
    for (int i = 0; i < MEMBERS; i++) expect_same_bits(&parts[i], &whole[i], "cuda");
    free_curves(parts, MEMBERS);
    free_curves(whole, MEMBERS);
    unlink(path);
    rmdir(folder);
}

static void make_configs(eab_config *configs) {
    for (int i = 0; i < MEMBERS; i++) {
        configs[i] = tiny_config();
        configs[i].d_model = 8;
        configs[i].mechanism = i;
        configs[i].level.option[0] += i;
        configs[i].seed = i + 1;
        configs[i].steps = 12;
        configs[i].eval_every = 5;
        configs[i].eval_tokens = 9;
        configs[i].stop_when_solved = 0;
    }
}

Test(checkpoint, a_fleet_in_parts, .timeout = 200) {
    eab_config configs[MEMBERS];
    make_configs(configs);
    expect_parts_are_the_whole(configs, 4);
}

Test(checkpoint, a_fleet_that_a_member_has_left, .timeout = 200) {
    eab_config configs[MEMBERS];
    make_configs(configs);
    configs[1].lr = 1e30;
    expect_parts_are_the_whole(configs, 5);
}
