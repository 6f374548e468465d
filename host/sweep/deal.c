#include "deal.h"

#include <pthread.h>

/* Where a fleet is. */
typedef enum { WAITING, DEALT, GIVEN, COMPLETE, UNDONE } fleet_state;

typedef struct {
    eab_fleet fleet;
    fleet_state state;
    int64_t number; /* granted fleets: the giver's */
} entry;

struct eab_deal {
    void (*wish)(void *context); /* NULL: all fleets are known from the start */
    void *context;
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t changed;
    GPtrArray *entries; /* of entry: never moved, so that a fleet's address stays */
    guint next;         /* all before it are dealt, but for those in `again` */
    GArray *again;      /* guint: places of fleets that came back */
    int64_t given, completed;
    double flop_total, flop_done;
    bool stopped;
};

static eab_deal *deal_new(void) {
    eab_deal *deal = g_new0(eab_deal, 1);
    pthread_mutex_init(&deal->mutex, NULL);
    pthread_cond_init(&deal->changed, NULL);
    deal->entries = g_ptr_array_new();
    deal->again = g_array_new(FALSE, FALSE, sizeof(guint));
    return deal;
}

static void add_fleet(eab_deal *deal, const eab_fleet *fleet, int64_t number) {
    entry *fresh = g_new(entry, 1);
    *fresh = (entry){.fleet = *fleet, .number = number};
    g_ptr_array_add(deal->entries, fresh);
    deal->flop_total += fleet->flop;
}

eab_deal *eab_deal_new(GArray *fleets) {
    eab_deal *deal = deal_new();
    for (guint i = 0; i < fleets->len; i++) add_fleet(deal, &g_array_index(fleets, eab_fleet, i), i);
    g_array_free(fleets, TRUE);
    return deal;
}

eab_deal *eab_deal_new_granted(void (*wish)(void *context), void *context) {
    eab_deal *deal = deal_new();
    deal->wish = wish;
    deal->context = context;
    return deal;
}

void eab_deal_free(eab_deal *deal) {
    for (guint i = 0; i < deal->entries->len; i++) {
        entry *own = deal->entries->pdata[i];
        g_free(own->fleet.indices);
        g_free(own);
    }
    g_ptr_array_free(deal->entries, TRUE);
    g_array_free(deal->again, TRUE);
    pthread_cond_destroy(&deal->changed);
    pthread_mutex_destroy(&deal->mutex);
    g_free(deal);
}

/* ---- with the mutex held ------------------------------------------------------------------------------------- */

/* The place of the fleet that is due, or -1. Those that came back are the longest that are left. */
static int64_t take_due(eab_deal *deal) {
    if (deal->stopped) return -1;
    if (deal->again->len) {
        const guint place = g_array_index(deal->again, guint, 0);
        g_array_remove_index(deal->again, 0);
        return place;
    }
    return deal->next < deal->entries->len ? (int64_t)deal->next++ : -1;
}

static entry *entry_at(const eab_deal *deal, int64_t place) { return deal->entries->pdata[place]; }

static void complete(eab_deal *deal, entry *own) {
    own->state = COMPLETE;
    deal->completed++;
}

/* ---- for workers --------------------------------------------------------------------------------------------- */

const eab_fleet *eab_deal_next(eab_deal *deal) {
    if (deal->wish) deal->wish(deal->context);
    pthread_mutex_lock(&deal->mutex);
    int64_t place = take_due(deal);
    while (place < 0 && !deal->stopped && (deal->wish || deal->given > 0)) {
        pthread_cond_wait(&deal->changed, &deal->mutex);
        place = take_due(deal);
    }
    entry *own = place < 0 ? NULL : entry_at(deal, place);
    if (own) own->state = DEALT;
    pthread_mutex_unlock(&deal->mutex);
    return own ? &own->fleet : NULL;
}

/* A fleet is the first member of its entry. */
static entry *entry_of(const eab_fleet *fleet) { return (entry *)(uintptr_t)fleet; }

void eab_deal_complete(eab_deal *deal, const eab_fleet *fleet) {
    pthread_mutex_lock(&deal->mutex);
    complete(deal, entry_of(fleet));
    deal->flop_done += fleet->flop;
    pthread_mutex_unlock(&deal->mutex);
}

void eab_deal_stop(eab_deal *deal) {
    pthread_mutex_lock(&deal->mutex);
    deal->stopped = true;
    pthread_cond_broadcast(&deal->changed);
    pthread_mutex_unlock(&deal->mutex);
}

bool eab_deal_is_complete(eab_deal *deal) {
    pthread_mutex_lock(&deal->mutex);
    const bool all = deal->completed == deal->entries->len;
    pthread_mutex_unlock(&deal->mutex);
    return all;
}

/* ---- between processes --------------------------------------------------------------------------------------- */

int64_t eab_deal_give(eab_deal *deal, const eab_fleet **fleet) {
    pthread_mutex_lock(&deal->mutex);
    const int64_t place = take_due(deal);
    if (place >= 0) {
        entry *own = entry_at(deal, place);
        own->state = GIVEN;
        deal->given++;
        *fleet = &own->fleet;
    }
    pthread_mutex_unlock(&deal->mutex);
    return place;
}

void eab_deal_take_back(eab_deal *deal, int64_t number, eab_deal_return how) {
    pthread_mutex_lock(&deal->mutex);
    entry *own = number >= 0 && number < deal->entries->len ? entry_at(deal, number) : NULL;
    if (own && own->state == GIVEN) {
        deal->given--;
        if (how == EAB_DEAL_COMPLETED) complete(deal, own);
        else own->state = how == EAB_DEAL_AGAIN ? WAITING : UNDONE;
        if (how == EAB_DEAL_AGAIN) {
            const guint place = (guint)number;
            g_array_append_val(deal->again, place);
        }
        pthread_cond_broadcast(&deal->changed);
    }
    pthread_mutex_unlock(&deal->mutex);
}

int64_t eab_deal_given(eab_deal *deal) {
    pthread_mutex_lock(&deal->mutex);
    const int64_t given = deal->given;
    pthread_mutex_unlock(&deal->mutex);
    return given;
}

int64_t eab_deal_left(eab_deal *deal) {
    pthread_mutex_lock(&deal->mutex);
    const int64_t left = deal->stopped ? 0 : (int64_t)(deal->entries->len - deal->next) + deal->again->len;
    pthread_mutex_unlock(&deal->mutex);
    return left;
}

void eab_deal_grant(eab_deal *deal, const eab_fleet *fleet, int64_t number) {
    pthread_mutex_lock(&deal->mutex);
    add_fleet(deal, fleet, number);
    pthread_cond_signal(&deal->changed);
    pthread_mutex_unlock(&deal->mutex);
}

int64_t eab_deal_number(eab_deal *deal, const eab_fleet *fleet) {
    pthread_mutex_lock(&deal->mutex);
    const int64_t number = entry_of(fleet)->number;
    pthread_mutex_unlock(&deal->mutex);
    return number;
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

void eab_deal_measure(eab_deal *deal, double *flop_total, double *flop_done) {
    pthread_mutex_lock(&deal->mutex);
    *flop_total = deal->flop_total;
    *flop_done = deal->flop_done;
    pthread_mutex_unlock(&deal->mutex);
}

int64_t eab_deal_count(eab_deal *deal) {
    pthread_mutex_lock(&deal->mutex);
    const int64_t count = deal->entries->len;
    pthread_mutex_unlock(&deal->mutex);
    return count;
}
