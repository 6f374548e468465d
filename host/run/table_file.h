/* A table as a file: reading with checks, appending whole rows, replacing. */
#ifndef EAB_RUN_TABLE_FILE_H
#define EAB_RUN_TABLE_FILE_H

#include "base/csv.h"

/* A table's file name in its folder, and the names of its columns. */
typedef struct {
    const char *file_name;      /* "accuracy.csv" */
    const char *const *columns; /* NULL-terminated; names without commas */
} eab_table_layout;

/* Appends the header line. */
void eab_table_header(const eab_table_layout *layout, GString *text);

/* The column's place in the table's rows, or -1. */
int32_t eab_table_column(const eab_table_layout *layout, const char *name);

/* Called for each row below the header; its number of fields is right. An eab_status with its message (what, and what
 * is allowed) refuses the row; the file's name and the line are put before the message. */
typedef int (*eab_table_visitor)(void *context, const eab_csv_row *row);

typedef struct {
    bool exists; /* with a whole header */
    bool torn;   /* bytes without a newline at its end */
} eab_table_facts;

/* Reads the table and changes nothing. A file that is empty or holds a piece of our header (after a crash at its
 * creation) counts as missing and torn. EAB_BAD_INPUT with "FILE:LINE: what; what is allowed" for a foreign header,
 * damage before the last line or a refused row; EAB_IO where it cannot be read. */
int eab_table_scan(const char *path, const eab_table_layout *layout, eab_table_visitor visitor, void *context,
                   eab_table_facts *facts);

/* Neighbouring whole rows of one cell, bytes [begin, end) of a file. */
typedef struct {
    int64_t cell, begin, end;
    int32_t source; /* which file */
} eab_table_rows;

/* For sorting: by cell, then by place in the file. */
int eab_table_rows_compare(const void *a, const void *b);

/* Atomically replaces the table sources[0] by its header and these rows of sources[rows->source], in this order;
 * creates it where there is none. */
int eab_table_rewrite(const eab_table_layout *layout, const char *const *sources, const eab_table_rows *rows,
                      size_t count);

typedef struct {
    char *path;
    int fd;
    int64_t size; /* of the whole rows */
} eab_table_file;

/* Opens an existing table to append. */
int eab_table_open(const char *path, eab_table_file *file);

/* Appends the rows in `text`. EAB_IO where the disk is full: then the file is cut back to its last whole row. */
int eab_table_append(eab_table_file *file, const GString *text);
int eab_table_sync(eab_table_file *file);
void eab_table_close(eab_table_file *file);

#endif
