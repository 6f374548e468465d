/* The CSV reader and writer: RFC 4180, and hostile files. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/base/csv.h"
#include "kernels/status.h"

typedef struct {
    FILE *file;
    eab_csv_reader *reader;
    eab_csv_row row;
} open_csv;

static open_csv open_bytes(const char *bytes, size_t size) {
    open_csv table = {.file = tmpfile()};
    cr_assert_not_null(table.file);
    cr_assert_eq(fwrite(bytes, 1, size, table.file), size);
    rewind(table.file);
    table.reader = eab_csv_reader_new(table.file);
    return table;
}

static open_csv open_text(const char *text) { return open_bytes(text, strlen(text)); }

static eab_csv_event next(open_csv *table) { return eab_csv_read(table->reader, &table->row); }

static void close_table(open_csv *table) {
    eab_csv_reader_free(table->reader);
    fclose(table->file);
}

static void expect_event(const char *text, size_t size, eab_csv_event event, const char *message) {
    open_csv table = open_bytes(text, size);
    eab_csv_event got;
    while ((got = next(&table)) == EAB_CSV_ROW) {
    }
    cr_expect_eq(got, event, "%.40s: event %d, not %d", text, got, event);
    if (message) cr_expect_not_null(strstr(eab_last_error(), message), "%s", eab_last_error());
    close_table(&table);
}

Test(csv, fields_lines_and_places) {
    open_csv table = open_text("a,b,c\r\n1,,\"x\"\n\n\"two\nlines\",\"say \"\"hi\"\"\",\"\"\nlast,,\n");
    cr_assert_eq(next(&table), EAB_CSV_ROW);
    cr_expect_eq(table.row.fields, 3);
    cr_expect_str_eq(table.row.field[2], "c");
    cr_expect_eq(table.row.begin, 0);
    cr_expect_eq(table.row.end, 7);
    cr_assert_eq(next(&table), EAB_CSV_ROW);
    cr_expect_eq(table.row.line, 2);
    cr_expect_str_eq(table.row.field[1], "");
    cr_expect_str_eq(table.row.field[2], "x");
    cr_assert_eq(next(&table), EAB_CSV_ROW);
    cr_expect_eq(table.row.fields, 1);
    cr_expect_str_eq(table.row.field[0], "");
    cr_assert_eq(next(&table), EAB_CSV_ROW);
    cr_expect_eq(table.row.line, 4);
    cr_expect_str_eq(table.row.field[0], "two\nlines");
    cr_expect_str_eq(table.row.field[1], "say \"hi\"");
    cr_expect_str_eq(table.row.field[2], "");
    cr_assert_eq(next(&table), EAB_CSV_ROW);
    cr_expect_eq(table.row.line, 6);
    cr_expect_eq(table.row.fields, 3);
    cr_expect_eq(next(&table), EAB_CSV_END);
    cr_expect_eq(next(&table), EAB_CSV_END);
    close_table(&table);
}

Test(csv, ends_and_torn_tails) {
    expect_event("", 0, EAB_CSV_END, NULL);
    expect_event("a,b\n", 4, EAB_CSV_END, NULL);
    expect_event("a,b\nc", 5, EAB_CSV_TORN, NULL);
    expect_event("a,b\nc,\"d", 8, EAB_CSV_TORN, NULL);
    expect_event("a,b\nc\r", 6, EAB_CSV_TORN, NULL);
    expect_event("a,b\nc\"d", 7, EAB_CSV_TORN, NULL);
    expect_event("a,b\n\0\0\0\0", 8, EAB_CSV_TORN, NULL); /* zeros, which a crash of the machine leaves */
}

Test(csv, torn_row_begins_where_whole_rows_end) {
    open_csv table = open_text("a,b\n1,2\n3,");
    cr_assert_eq(next(&table), EAB_CSV_ROW);
    cr_assert_eq(next(&table), EAB_CSV_ROW);
    cr_assert_eq(next(&table), EAB_CSV_TORN);
    cr_expect_eq(table.row.begin, 8);
    cr_expect_eq(table.row.line, 3);
    close_table(&table);
}

Test(csv, damage) {
    expect_event("a\0b\nc\n", 6, EAB_CSV_DAMAGED, "NUL");
    expect_event("a\nb\0\n", 5, EAB_CSV_DAMAGED, "NUL");
    expect_event("a\"b\nc\n", 6, EAB_CSV_DAMAGED, "quote within");
    expect_event("\"a\"b\nc\n", 7, EAB_CSV_DAMAGED, "after a closing quote");
    expect_event("\"a\" ,b\n", 7, EAB_CSV_DAMAGED, "after a closing quote");
    expect_event("a\rb\nc\n", 6, EAB_CSV_DAMAGED, "carriage return");
    expect_event("a\r\r\n", 4, EAB_CSV_DAMAGED, "carriage return");
}

Test(csv, bounds) {
    GString *text = g_string_new(NULL);
    for (int i = 0; i < EAB_CSV_MAX_FIELDS - 1; i++) g_string_append_c(text, ',');
    g_string_append_c(text, '\n');
    open_csv table = open_bytes(text->str, text->len);
    cr_assert_eq(next(&table), EAB_CSV_ROW);
    cr_expect_eq(table.row.fields, EAB_CSV_MAX_FIELDS);
    close_table(&table);
    g_string_insert_c(text, 0, ',');
    expect_event(text->str, text->len, EAB_CSV_DAMAGED, "1024");

    g_string_set_size(text, EAB_CSV_MAX_ROW_BYTES);
    memset(text->str, 'x', text->len);
    text->str[text->len - 1] = '\n';
    expect_event(text->str, text->len, EAB_CSV_END, NULL);
    g_string_insert_c(text, 0, 'x');
    expect_event(text->str, text->len, EAB_CSV_DAMAGED, "1 MiB");
    text->str[text->len - 1] = 'x';
    expect_event(text->str, text->len, EAB_CSV_TORN, NULL);
    g_string_free(text, TRUE);
}

Test(csv, unreadable) {
    FILE *folder = fopen("/", "r");
    eab_csv_reader *reader = eab_csv_reader_new(folder);
    eab_csv_row row;
    cr_expect_eq(eab_csv_read(reader, &row), EAB_CSV_UNREADABLE);
    cr_expect(*eab_last_error());
    eab_csv_reader_free(reader);
    fclose(folder);
}

Test(csv, writer) {
    eab_csv_line line = {.text = g_string_new(NULL)};
    eab_csv_add_text(&line, "");
    eab_csv_add_text(&line, "plain text");
    eab_csv_add_text(&line, "a,b");
    eab_csv_add_text(&line, "a\"b\nc");
    eab_csv_add_count(&line, 0);
    eab_csv_add_count(&line, -1);
    eab_csv_add_count(&line, INT64_MAX);
    eab_csv_add_real(&line, 0.1);
    eab_csv_add_real(&line, 1.0 / 3);
    eab_csv_add_real(&line, NAN);
    eab_csv_add_real(&line, INFINITY);
    eab_csv_add_line(&line, " two\r\nlines\t\x01 \xff ");
    eab_csv_end(&line);
    eab_csv_add_text(&line, "next");
    eab_csv_end(&line);
    cr_expect_str_eq(line.text->str, ",plain text,\"a,b\",\"a\"\"b\nc\",0,,9223372036854775807,0.1,0.333333333,,,"
                                     "two  lines   \xEF\xBF\xBD\nnext\n");
    g_string_free(line.text, TRUE);
}

/* Fields with any characters read back as they were written. */
Test(csv, round_trip) {
    static const char *const fields[] = {"",   ",",      "\"", "\"\"", "\n",       "\r\n",
                                         "\r", ",\",\n", "x",  " x ",  "\xC3\xA9", "'"};
    enum { COUNT = sizeof fields / sizeof *fields };
    eab_csv_line line = {.text = g_string_new(NULL)};
    for (int a = 0; a < COUNT; a++) {
        for (int b = 0; b < COUNT; b++) eab_csv_add_text(&line, fields[(a + b) % COUNT]);
        eab_csv_end(&line);
    }
    open_csv table = open_bytes(line.text->str, line.text->len);
    for (int a = 0; a < COUNT; a++) {
        cr_assert_eq(next(&table), EAB_CSV_ROW);
        cr_assert_eq(table.row.fields, COUNT);
        for (int b = 0; b < COUNT; b++) cr_expect_str_eq(table.row.field[b], fields[(a + b) % COUNT]);
    }
    cr_expect_eq(next(&table), EAB_CSV_END);
    close_table(&table);
    g_string_free(line.text, TRUE);
}
