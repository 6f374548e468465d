/* The options of a command line, by a table of entries. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "internal.h"

struct GOptionContext {
    gchar *summary, *description;
    GOptionEntry *entries; /* as many as `count` */
    gsize count;
    gboolean help_disabled;
};

static gchar *program_name;

void g_set_prgname(const gchar *name) {
    gchar *old = program_name;
    program_name = g_strdup(name);
    g_free(old);
}

GQuark g_option_error_quark(void) { return 1; }

GOptionContext *g_option_context_new(const gchar *summary) {
    GOptionContext *context = g_new0(GOptionContext, 1);
    context->summary = g_strdup(summary);
    return context;
}

void g_option_context_free(GOptionContext *context) {
    g_free(context->summary);
    g_free(context->description);
    g_free(context->entries);
    g_free(context);
}

void g_option_context_set_description(GOptionContext *context, const gchar *description) {
    g_free(context->description);
    context->description = g_strdup(description);
}

void g_option_context_set_help_enabled(GOptionContext *context, gboolean enabled) { context->help_disabled = !enabled; }

void g_option_context_add_main_entries(GOptionContext *context, const GOptionEntry *entries, const gchar *domain) {
    g_assert(!context->entries && !domain);
    while (entries[context->count].long_name) {
        const GOptionEntry *entry = &entries[context->count++];
        g_assert(!entry->flags && (!entry->short_name || entry->arg == G_OPTION_ARG_NONE));
    }
    context->entries = g_memdup2(entries, eab_subset_product(context->count, sizeof *entries));
}

/* ---- parsing --------------------------------------------------------------------------------------------------- */

/* Words are gone through twice: to see whether all are right, and then to store what they say. */
typedef struct {
    const GOptionContext *context;
    gboolean store, *stored; /* [count]: a text was stored here, not one that the caller had put in */
    GError **error;
} parser;

static gboolean bad_value(const parser *self, const gchar *kind, const gchar *value, const gchar *name) {
    eab_subset_set_error(self->error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "Cannot parse %s value “%s” for %s",
                         kind, value, name);
    return FALSE;
}

static gboolean out_of_range(const parser *self, const gchar *kind, const gchar *value, const gchar *name) {
    eab_subset_set_error(self->error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s value “%s” for %s out of range",
                         kind, value, name);
    return FALSE;
}

static gboolean take_integer(const parser *self, const GOptionEntry *entry, const gchar *value, const gchar *name) {
    gchar *end;
    errno = 0;
    const gint64 number = g_ascii_strtoll(value, &end, 0);
    const gboolean wide = entry->arg == G_OPTION_ARG_INT64;
    if (!*value || *end) return bad_value(self, "integer", value, name);
    if (errno == ERANGE || (!wide && (number < INT_MIN || number > INT_MAX)))
        return out_of_range(self, "Integer", value, name);
    if (self->store && wide) *(gint64 *)entry->arg_data = number;
    else if (self->store) *(gint *)entry->arg_data = (gint)number;
    return TRUE;
}

static gboolean take_real(const parser *self, const GOptionEntry *entry, const gchar *value, const gchar *name) {
    gchar *end;
    errno = 0;
    const gdouble number = g_ascii_strtod(value, &end);
    if (!*value || *end) return bad_value(self, "double", value, name);
    if (errno == ERANGE) return out_of_range(self, "Double", value, name);
    if (self->store) *(gdouble *)entry->arg_data = number;
    return TRUE;
}

static void store_text(const parser *self, const GOptionEntry *entry, const gchar *value) {
    gchar **place = entry->arg_data;
    gboolean *ours = &self->stored[entry - self->context->entries];
    if (*ours) g_free(*place);
    *place = g_strdup(value);
    *ours = TRUE;
}

static void add_text(const parser *self, const GOptionEntry *entry, const gchar *value) {
    gchar ***place = entry->arg_data;
    gboolean *ours = &self->stored[entry - self->context->entries];
    const gsize length = *ours ? g_strv_length(*place) : 0;
    gchar **longer = g_realloc(*ours ? *place : NULL, eab_subset_product(length + 2, sizeof *longer));
    longer[length] = g_strdup(value);
    longer[length + 1] = NULL;
    *place = longer;
    *ours = TRUE;
}

static gboolean take(const parser *self, const GOptionEntry *entry, const gchar *value, const gchar *name) {
    switch (entry->arg) {
        case G_OPTION_ARG_INT:
        case G_OPTION_ARG_INT64: return take_integer(self, entry, value, name);
        case G_OPTION_ARG_DOUBLE: return take_real(self, entry, value, name);
        case G_OPTION_ARG_NONE:
            if (self->store) *(gboolean *)entry->arg_data = TRUE;
            return TRUE;
        case G_OPTION_ARG_FILENAME:
            if (self->store) store_text(self, entry, value);
            return TRUE;
        case G_OPTION_ARG_FILENAME_ARRAY:
            if (self->store) add_text(self, entry, value);
            return TRUE;
    }
    return TRUE;
}

static gboolean unknown(const parser *self, const gchar *word) {
    eab_subset_set_error(self->error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION, "Unknown option %s", word);
    return FALSE;
}

/* --NAME, --NAME=VALUE or --NAME VALUE; moves *word on to what it has used. */
static gboolean take_long(const parser *self, gchar ***word) {
    const gchar *option = **word + strlen("--");
    const gsize length = strcspn(option, "=");
    for (gsize i = 0; i < self->context->count; i++) {
        const GOptionEntry *entry = &self->context->entries[i];
        if (strlen(entry->long_name) != length || strncmp(option, entry->long_name, length) != 0) continue;
        const gchar *value = option[length] ? option + length + 1 : NULL;
        gchar *name = g_strconcat("--", entry->long_name, NULL);
        gboolean taken = FALSE;
        if (!value && entry->arg != G_OPTION_ARG_NONE && (*word)[1]) value = *++*word;
        if (!value && entry->arg != G_OPTION_ARG_NONE)
            eab_subset_set_error(self->error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "Missing argument for %s",
                                 name);
        else taken = take(self, entry, value, name);
        g_free(name);
        return taken;
    }
    return unknown(self, **word);
}

/* -a, or -abc for -a -b -c. */
static gboolean take_short(const parser *self, const gchar *word) {
    for (const gchar *letter = word + 1; *letter; letter++) {
        const GOptionEntry *entry = self->context->entries, *end = entry + self->context->count;
        while (entry < end && entry->short_name != *letter) entry++;
        if (entry == end) return unknown(self, word);
        take(self, entry, NULL, word);
    }
    return TRUE;
}

static gboolean take_words(const parser *self, gchar **words) {
    const GOptionEntry *rest = self->context->entries;
    gboolean options = TRUE; /* until a -- */
    while (*rest->long_name) rest++;
    for (gchar **word = words; *word; word++) {
        if (!options || (*word)[0] != '-' || !(*word)[1]) take(self, rest, *word, "");
        else if (strcmp(*word, "--") == 0) options = FALSE;
        else if (!((*word)[1] == '-' ? take_long(self, &word) : take_short(self, *word))) return FALSE;
    }
    return TRUE;
}

gboolean g_option_context_parse_strv(GOptionContext *context, gchar ***words, GError **error) {
    gboolean rest_is_taken = FALSE;
    for (gsize i = 0; i < context->count; i++)
        rest_is_taken |= !*context->entries[i].long_name && context->entries[i].arg == G_OPTION_ARG_FILENAME_ARRAY;
    g_assert(context->help_disabled && rest_is_taken);
    if (!**words) return TRUE;
    parser self = {context, FALSE, g_new0(gboolean, context->count), error};
    gboolean right = take_words(&self, *words + 1); /* the first is the program's name */
    if (right) {
        self.store = TRUE;
        take_words(&self, *words + 1);
    }
    g_free(self.stored);
    return right;
}

/* ---- help ------------------------------------------------------------------------------------------------------ */

/* Characters, each taken for one column wide. */
static gsize width_of(const gchar *text) {
    gsize width = 0;
    for (; *text; text++) width += ((guchar)*text & 0xC0) != 0x80;
    return width;
}

static gboolean shows_value(const GOptionEntry *entry) {
    return entry->arg != G_OPTION_ARG_NONE && entry->arg_description;
}

/* Without the "--", as the widest of all gives the column of the descriptions. */
static gsize entry_width(const GOptionEntry *entry) {
    return width_of(entry->long_name) + (entry->short_name ? strlen("-x, ") : 0) +
           (shows_value(entry) ? strlen("=") + width_of(entry->arg_description) : 0);
}

static void add_entry(GString *text, const GOptionEntry *entry, gsize column) {
    const gsize begin = text->len;
    g_string_append(text, "  ");
    if (entry->short_name) g_string_append_printf(text, "-%c, ", entry->short_name);
    g_string_append_printf(text, "--%s", entry->long_name);
    if (shows_value(entry)) g_string_append_printf(text, "=%s", entry->arg_description);
    for (gsize width = width_of(text->str + begin); width < column; width++) g_string_append_c(text, ' ');
    g_string_append_printf(text, "%s\n", entry->description ? entry->description : "");
}

gchar *g_option_context_get_help(GOptionContext *context, gboolean main_help, gpointer group) {
    const gsize gap = 9;
    const gchar *rest = NULL;
    gsize widest = 0;
    g_assert(main_help && !group && context->help_disabled);
    for (gsize i = 0; i < context->count; i++) {
        const GOptionEntry *entry = &context->entries[i];
        if (!*entry->long_name) rest = entry->arg_description;
        else widest = MAX(widest, entry_width(entry));
    }
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "Usage:\n  %s [OPTION…]", program_name ? program_name : "");
    if (rest) g_string_append_printf(text, " %s", rest);
    if (context->summary) g_string_append_printf(text, " %s", context->summary);
    g_string_append(text, "\n\nOptions:\n");
    for (gsize i = 0; i < context->count; i++)
        if (*context->entries[i].long_name) add_entry(text, &context->entries[i], widest + gap);
    g_string_append(text, "\n");
    if (context->description) g_string_append_printf(text, "%s\n", context->description);
    return g_string_free(text, FALSE);
}
