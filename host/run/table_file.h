/* A table as a file: checked reading, appending whole rows, rewriting. */
#ifndef EAB_RUN_TABLE_FILE_H
#define EAB_RUN_TABLE_FILE_H

#include "base/csv.h"

/* A table's file name in its folder, and the names of its columns. Tables are read by these names: a table of an older
 * version may have the columns in another order, and may lack some. */
typedef struct {
    const char *file_name;      /* "accuracy.csv" */
    const char *const *columns; /* NULL-terminated; names without commas */
    /* The column's text in a row of a table that lacks the column, or NULL if no table may lack it; `field` has the
     * row's columns before it (NULL: only whether a table may lack the column matters). Interned. NULL instead of a
     * function: no column may be absent. */
    const char *(*absent)(const char *column, char *const *field);
    const char *const *dropped; /* other columns that a table may have, which reading leaves out; or NULL */
} eab_table_layout;

/* Appends the header line. */
void eab_table_header(const eab_table_layout *layout, GString *text);

/* The column's place in the table's rows, or -1. */
int32_t eab_table_column(const eab_table_layout *layout, const char *name);

/* Called for each row below the header; the row's fields are the layout's columns, in their order. To refuse the row,
 * return an eab_status with a message (the mistake, and what is allowed); the file's name and the line are put before
 * it. */
typedef int (*eab_table_visitor)(void *context, const eab_csv_row *row);

typedef struct {
    bool exists; /* with its header or a piece of it */
    bool torn;   /* its last bytes have no newline */
    bool older;  /* its header is not the layout's; visitors may ask for it */
} eab_table_facts;

/* Consecutive whole rows of one cell: bytes [begin, end) of the table. */
typedef struct {
    int64_t cell, begin, end;
} eab_table_rows;

/* A table that is open for reading its rows: of the file that was opened, even if another one has replaced it since. */
typedef struct eab_table_reader eab_table_reader;

/* Reads the table and changes nothing. An empty file counts as missing, one with only the beginning of a header (after
 * a crash at its creation) as torn. *scanned (may be NULL): the table, still open; NULL if it has no header line, or
 * after an error. EAB_BAD_INPUT with "FILE:LINE: mistake; what is allowed" for a header with an
 * unknown or repeated column or without a required one, damage before the last line or a refused row; EAB_IO if it
 * cannot be read. */
int eab_table_scan(const char *path, const eab_table_layout *layout, eab_table_visitor visitor, void *context,
                   eab_table_facts *facts, eab_table_reader **scanned);

/* *reader is NULL if there is no table, or none with a header line. Errors as for eab_table_scan. */
int eab_table_reader_open(const char *path, const eab_table_layout *layout, eab_table_reader **reader);

/* Appends the next of these rows to `text`, as rows of the layout, and moves rows->begin behind them: about 1 MiB, as
 * rows may be larger than memory. The text ends with a whole row once rows->begin is rows->end. */
int eab_table_read(eab_table_reader *reader, eab_table_rows *rows, GString *text);
void eab_table_reader_close(eab_table_reader *reader); /* may be NULL */

/* Atomically replaces the table by its header and these of its rows, in this order; creates a missing table. */
int eab_table_rewrite(const char *path, const eab_table_layout *layout, const eab_table_rows *rows, size_t count);

typedef struct {
    char *path; /* NULL: not open */
    int fd;
} eab_table_file;

/* Opens an existing table for appending. */
int eab_table_open(const char *path, eab_table_file *file);

/* Appends the rows in `text` and syncs. EAB_IO if the disk is full: then the file is cut after its last whole row. */
int eab_table_append(eab_table_file *file, const GString *text);
void eab_table_close(eab_table_file *file);

#endif
