#include "arguments.h"

#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "base/log.h"
#include "base/suggest.h"
#include "kernels/backend.h"

int eab_command_error(const char *command, int status) {
    eab_log_error(command, "%s", eab_last_error());
    return eab_exit_code(status);
}

/* Prints GLib's error, with the nearest option's name if there is no option of that name. */
static void refuse_option(const char *command, const GError *error, const GOptionEntry *entries) {
    char shown[160];
    const char *name = strstr(error->message, "--");
    GString *line = g_string_new(eab_excerpt(error->message, 100, shown, sizeof shown));
    if (g_error_matches(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION) && name) {
        char *bare = g_strndup(name + 2, strcspn(name + 2, "= "));
        GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
        for (; entries->long_name; entries++)
            if (*entries->long_name) g_ptr_array_add(names, g_strdup(entries->long_name));
        g_ptr_array_add(names, g_strdup("help"));
        g_ptr_array_add(names, NULL);
        g_string_append_printf(line, "; nearest: --%s", eab_suggest(bare, (const char *const *)names->pdata));
        g_ptr_array_unref(names);
        g_free(bare);
    }
    eab_log_error(command, "%s; see eabench %s --help", line->str, command);
    g_string_free(line, TRUE);
}

int eab_command_parse(const char *command, const char *summary, const char *description, const GOptionEntry *entries,
                      int argc, char **argv) {
    gboolean help = FALSE;
    const GOptionEntry help_entry[] = {{"help", 'h', 0, G_OPTION_ARG_NONE, &help, "show this", NULL}, {0}};
    char **words = g_new0(char *, (gsize)argc + 1), *program = g_strconcat("eabench ", command, NULL);
    GOptionContext *context = g_option_context_new(summary);
    GError *error = NULL;
    int code = -1;
    for (int i = 0; i < argc; i++) words[i] = g_strdup(argv[i]); /* GLib removes the options from its copy */
    g_set_prgname(program);
    g_option_context_set_description(context, description);
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, help_entry, NULL);
    if (!g_option_context_parse_strv(context, &words, &error)) {
        refuse_option(command, error, entries);
        g_error_free(error);
        code = EAB_EXIT_BAD_INPUT;
    } else if (help) {
        char *text = g_option_context_get_help(context, TRUE, NULL);
        printf("%s", text);
        g_free(text);
        code = EAB_EXIT_DONE;
    }
    g_option_context_free(context);
    g_strfreev(words);
    g_free(program);
    return code;
}

bool eab_command_backend_is_known(const char *command, const char *name) {
    const char *const backends[] = {"auto", "cpu", "cuda", "reference", NULL};
    char shown[80];
    if (!name || g_strv_contains(backends, name) || eab_backend_from_name(name)) return true;
    eab_log_error(command, "--backend is '%s'; auto, cpu, cuda, reference are allowed; nearest: %s",
                  eab_excerpt(name, 40, shown, sizeof shown), eab_suggest(name, backends));
    return false;
}

const char *eab_command_resolve_backend(const char *command, const char *name) {
    if (name && strcmp(name, "auto") != 0) return name;
    const eab_backend *cuda = eab_backend_from_name("cuda");
    if (!cuda || cuda->not_built) return "cpu";
    if (cuda->count() > 0) return "cuda";
    eab_log_note(command, "no GPU, the cpu is used: %s", cuda->absent());
    return "cpu";
}

static void append_quoted(GString *command, const char *word) {
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%";
    char *quoted = g_shell_quote(word);
    g_string_append(command, *word && strspn(word, plain) == strlen(word) ? word : quoted);
    g_free(quoted);
}

char *eab_command_quote(const char *program, int argc, char **argv) {
    GString *command = g_string_new(NULL);
    append_quoted(command, program);
    for (int i = 0; i < argc; i++) {
        g_string_append_c(command, ' ');
        append_quoted(command, argv[i]);
    }
    return g_string_free(command, FALSE);
}

int eab_command_read_time(const char *option, const char *text, const char *zero, double *seconds) {
    char shown[80];
    if (!text || (eab_duration_read(text, seconds) && (zero || *seconds > 0))) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "--%s is '%s'; %sat most 1e9 s are allowed: %s%s%s", option,
                    eab_excerpt(text, 40, shown, sizeof shown), zero ? "" : "above 0, ", EAB_DURATION_ALLOWED,
                    zero ? "; 0: " : "", zero ? zero : "");
}
