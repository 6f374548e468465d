/* The CSV reader and writer. Rows must follow each other without a gap, and rows that are written and read again must
 * have the same fields. */
#include <glib.h>
#include <string.h>

#include "../../host/base/csv.h"
#include "../../kernels/status.h"
#include "fuzz.h"

static fuzz_file file, written;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    fuzz_file_open(&file);
    fuzz_file_open(&written);
    return 0;
}

/* Reads the written rows, and compares them with the fields of the input. */
static void expect_same_again(const GString *text, int64_t rows, const GString *fields) {
    eab_csv_row row;
    GString *again = g_string_new(NULL);
    fuzz_file_set(&written, (const uint8_t *)text->str, text->len);
    FILE *stream = fopen(written.path, "r");
    eab_csv_reader *reader = eab_csv_reader_new(stream);
    while (eab_csv_read(reader, &row) == EAB_CSV_ROW) {
        rows--;
        for (int32_t i = 0; i < row.fields; i++)
            g_string_append_len(again, row.field[i], (gssize)strlen(row.field[i]) + 1);
    }
    fuzz_expect(rows == 0 && g_string_equal(again, fields), "the same fields, written and read");
    eab_csv_reader_free(reader);
    fclose(stream);
    g_string_free(again, TRUE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_file_set(&file, data, size);
    FILE *stream = fopen(file.path, "r");
    eab_csv_reader *reader = eab_csv_reader_new(stream);
    GString *text = g_string_new(NULL), *fields = g_string_new(NULL);
    eab_csv_event event;
    eab_csv_row row;
    int64_t end = 0, line = 1, rows = 0;
    while ((event = eab_csv_read(reader, &row)) == EAB_CSV_ROW) {
        eab_csv_line copy = {.text = text};
        fuzz_expect(row.begin == end && row.end > row.begin && row.end <= (int64_t)size, "rows one after another");
        fuzz_expect(row.line >= line && row.fields >= 1, "lines counted upwards");
        fuzz_expect(data[row.end - 1] == '\n', "a row that ends with its newline");
        for (int32_t i = 0; i < row.fields; i++) {
            eab_csv_add_text(&copy, row.field[i]);
            g_string_append_len(fields, row.field[i], (gssize)strlen(row.field[i]) + 1);
        }
        eab_csv_end(&copy);
        rows++;
        line = row.line + 1;
        end = row.end;
    }
    fuzz_expect(event != EAB_CSV_UNREADABLE, "no error of a file in memory");
    fuzz_expect(event != EAB_CSV_END || end == (int64_t)size, "the end of the file after the last row");
    fuzz_expect(event == EAB_CSV_END || row.begin == end, "torn or damaged text right after the last row");
    if (event == EAB_CSV_DAMAGED) fuzz_expect_line(eab_last_error());
    eab_csv_reader_free(reader);
    fclose(stream);
    expect_same_again(text, rows, fields);
    g_string_free(text, TRUE);
    g_string_free(fields, TRUE);
    return 0;
}
