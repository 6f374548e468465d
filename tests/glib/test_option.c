#include <criterion/criterion.h>
#include <glib.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    gchar *name, **sets, **rest;
    gint count;
    gint64 steps;
    gdouble limit;
    gboolean flag, help;
    GOptionContext *context;
    GError *error;
    char **words;
} command;

static command start(void) { return (command){.count = -7, .steps = -7, .limit = -7}; }

static GOptionContext *make_context(command *c, const char *rest) {
    const GOptionEntry entries[] = {
        {"set", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &c->sets, "may be repeated", "SECTION.KEY=VALUE"},
        {"name", 0, 0, G_OPTION_ARG_FILENAME, &c->name, "a name", "NAME"},
        {"nameless", 0, 0, G_OPTION_ARG_INT, &c->count, "a name that begins with another one", NULL},
        {"steps", 0, 0, G_OPTION_ARG_INT64, &c->steps, "how many", "N"},
        {"limit", 0, 0, G_OPTION_ARG_DOUBLE, &c->limit, "how long", "SECONDS"},
        {"flag", 'f', 0, G_OPTION_ARG_NONE, &c->flag, NULL, NULL},
        {"help", 'h', 0, G_OPTION_ARG_NONE, &c->help, "show this", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &c->rest, NULL, rest},
        {0}};
    GOptionContext *context = g_option_context_new("- what it does");
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, entries, NULL);
    return context;
}

/* Parses words that are written with a | between them. */
static bool parse(command *c, const char *line) {
    *c = start();
    c->context = make_context(c, "SPEC.ini");
    c->words = g_strsplit(line, "|", -1);
    return g_option_context_parse_strv(c->context, &c->words, &c->error);
}

static void finish(command *c) {
    g_clear_error(&c->error);
    g_option_context_free(c->context);
    g_strfreev(c->words);
    g_strfreev(c->sets);
    g_strfreev(c->rest);
    g_free(c->name);
}

static void expect_words(char **words, const char *joined) {
    char *got = words ? g_strjoinv("|", words) : g_strdup("none");
    cr_expect_str_eq(got, joined);
    g_free(got);
}

Test(option, values) {
    command c;
    cr_assert(parse(&c,
                    "program|--set|a=1|spec|--set=b=2|--name|x|--name=y|--nameless=0x10|--steps|-9223372036854775808|"
                    "--limit=1e3|-f|--set=|another"));
    expect_words(c.sets, "a=1|b=2|");
    expect_words(c.rest, "spec|another");
    cr_expect_str_eq(c.name, "y");
    cr_expect_eq(c.count, 16);
    cr_expect_eq(c.steps, INT64_MIN);
    cr_expect_eq(c.limit, 1000);
    cr_expect(c.flag && !c.help);
    finish(&c);
}

Test(option, nothing_given) {
    command c;
    cr_assert(parse(&c, "program"));
    cr_expect(!c.sets && !c.rest && !c.name && !c.flag && c.count == -7 && c.steps == -7 && c.limit == -7);
    finish(&c);
}

Test(option, unusual_ways_to_write_them) {
    static const struct {
        const char *line, *name, *rest;
        gint count;
        bool flag, help;
    } cases[] = {
        {"p|-hf", NULL, "none", -7, true, true},
        {"p|-ff", NULL, "none", -7, true, false},
        {"p|--flag=no", NULL, "none", -7, true, false}, /* the value is not looked at */
        {"p|--name|--flag", "--flag", "none", -7, false, false},
        {"p|--name|--", "--", "none", -7, false, false},
        {"p|--name=", "", "none", -7, false, false},
        {"p|--name||x", "", "x", -7, false, false},
        {"p|--name==a=", "=a=", "none", -7, false, false},
        {"p|--|--name|-h", NULL, "--name|-h", -7, false, false},
        {"p|a|--|-h|--", NULL, "a|-h|--", -7, false, false},
        {"p|-|", NULL, "-|", -7, false, false},
        {"p|a|-f|b", NULL, "a|b", -7, true, false},
        {"p|--=3|x", NULL, "3|x", -7, false, false}, /* the name of G_OPTION_REMAINING is empty */
        {"p|--nameless|-5", NULL, "none", -5, false, false},
        {"p|--nameless= 017", NULL, "none", 15, false, false},
        {"p|--nameless=+3", NULL, "none", 3, false, false},
        {"p|--name=\xFF\xC3|\xFF", "\xFF\xC3", "\xFF", -7, false, false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        command c;
        cr_assert(parse(&c, cases[i].line), "%s: %s", cases[i].line, c.error ? c.error->message : "");
        cr_expect_eq(g_strcmp0(c.name, cases[i].name), 0, "%s: name %s", cases[i].line, c.name);
        cr_expect(c.count == cases[i].count && c.flag == cases[i].flag && c.help == cases[i].help, "%s", cases[i].line);
        expect_words(c.rest, cases[i].rest);
        finish(&c);
    }
}

Test(option, mistakes) {
    static const struct {
        const char *line, *message;
        gint code;
    } cases[] = {
        {"p|--nam", "Unknown option --nam", G_OPTION_ERROR_UNKNOWN_OPTION},
        {"p|--names=3", "Unknown option --names=3", G_OPTION_ERROR_UNKNOWN_OPTION},
        {"p|-x", "Unknown option -x", G_OPTION_ERROR_UNKNOWN_OPTION},
        {"p|-hx", "Unknown option -hx", G_OPTION_ERROR_UNKNOWN_OPTION},
        {"p|-name", "Unknown option -name", G_OPTION_ERROR_UNKNOWN_OPTION},
        {"p|---", "Unknown option ---", G_OPTION_ERROR_UNKNOWN_OPTION},
        {"p|--help-all", "Unknown option --help-all", G_OPTION_ERROR_UNKNOWN_OPTION},
        {"p|-?", "Unknown option -?", G_OPTION_ERROR_UNKNOWN_OPTION},
        {"p|--name", "Missing argument for --name", G_OPTION_ERROR_BAD_VALUE},
        {"p|--flag|--limit", "Missing argument for --limit", G_OPTION_ERROR_BAD_VALUE},
        {"p|--nameless=x", "Cannot parse integer value “x” for --nameless", G_OPTION_ERROR_BAD_VALUE},
        {"p|--nameless=", "Cannot parse integer value “” for --nameless", G_OPTION_ERROR_BAD_VALUE},
        {"p|--nameless|1.5", "Cannot parse integer value “1.5” for --nameless", G_OPTION_ERROR_BAD_VALUE},
        {"p|--nameless=3 ", "Cannot parse integer value “3 ” for --nameless", G_OPTION_ERROR_BAD_VALUE},
        {"p|--nameless=2147483648", "Integer value “2147483648” for --nameless out of range", G_OPTION_ERROR_BAD_VALUE},
        {"p|--nameless=99999999999999999999", "Integer value “99999999999999999999” for --nameless out of range",
         G_OPTION_ERROR_BAD_VALUE},
        {"p|--steps=many", "Cannot parse integer value “many” for --steps", G_OPTION_ERROR_BAD_VALUE},
        {"p|--steps=9223372036854775808", "Integer value “9223372036854775808” for --steps out of range",
         G_OPTION_ERROR_BAD_VALUE},
        {"p|--limit=soon", "Cannot parse double value “soon” for --limit", G_OPTION_ERROR_BAD_VALUE},
        {"p|--limit=", "Cannot parse double value “” for --limit", G_OPTION_ERROR_BAD_VALUE},
        {"p|--limit=1e999", "Double value “1e999” for --limit out of range", G_OPTION_ERROR_BAD_VALUE},
        {"p|--limit=1,5", "Cannot parse double value “1,5” for --limit", G_OPTION_ERROR_BAD_VALUE},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        command c;
        cr_assert_not(parse(&c, cases[i].line), "%s", cases[i].line);
        cr_expect_str_eq(c.error->message, cases[i].message);
        cr_expect(g_error_matches(c.error, G_OPTION_ERROR, cases[i].code), "%s", cases[i].line);
        cr_expect_not(g_error_matches(c.error, G_OPTION_ERROR, !cases[i].code));
        finish(&c);
    }
    cr_expect_not(g_error_matches(NULL, G_OPTION_ERROR, 0));
}

Test(option, a_mistake_takes_all_back) {
    command c;
    cr_assert_not(parse(&c, "p|--name=x|--set=a=1|--nameless=3|--limit=2|-fh|spec|--steps=no"));
    cr_expect(!c.sets && !c.rest && !c.name && !c.flag && !c.help && c.count == -7 && c.steps == -7 && c.limit == -7);
    finish(&c);
}

Test(option, odd_reals) {
    command c;
    cr_assert(parse(&c, "p|--limit=nan"));
    cr_expect(isnan(c.limit));
    finish(&c);
    cr_assert(parse(&c, "p|--limit=-inf"));
    cr_expect(isinf(c.limit) && c.limit < 0);
    finish(&c);
}

Test(option, help) {
    command c = start();
    g_set_prgname("eabench something");
    c.context = make_context(&c, "SPEC.ini");
    g_option_context_set_description(c.context, "More,\nbelow.");
    char *help = g_option_context_get_help(c.context, TRUE, NULL);
    cr_expect_str_eq(help, "Usage:\n"
                           "  eabench something [OPTION…] SPEC.ini - what it does\n"
                           "\n"
                           "Options:\n"
                           "  --set=SECTION.KEY=VALUE     may be repeated\n"
                           "  --name=NAME                 a name\n"
                           "  --nameless                  a name that begins with another one\n"
                           "  --steps=N                   how many\n"
                           "  --limit=SECONDS             how long\n"
                           "  -f, --flag                  \n"
                           "  -h, --help                  show this\n"
                           "\n"
                           "More,\nbelow.\n");
    g_free(help);
    finish(&c);
}

Test(option, help_of_little) {
    gboolean help = FALSE;
    char **rest = NULL;
    const GOptionEntry entries[] = {{"help", 'h', 0, G_OPTION_ARG_NONE, &help,
                                     "zeigt \xC3\xBC"
                                     "ber alles",
                                     NULL},
                                    {"k", 0, 0, G_OPTION_ARG_FILENAME, &rest, "narrow", "\xC3\xBC"},
                                    {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &rest, NULL, NULL},
                                    {0}};
    GOptionContext *context = g_option_context_new("- little");
    g_set_prgname("first name");
    g_set_prgname("p");
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, entries, NULL);
    char *text = g_option_context_get_help(context, TRUE, NULL);
    cr_expect_str_eq(text, "Usage:\n  p [OPTION…] - little\n\nOptions:\n"
                           "  -h, --help     zeigt \xC3\xBC"
                           "ber alles\n"
                           "  --k=\xC3\xBC          narrow\n\n");
    g_free(text);
    g_option_context_free(context);
}
