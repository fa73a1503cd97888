/* What a durable record costs in SQLite: a fresh process opens a database in WAL mode, inserts one row of 300 bytes
 * with synchronous=FULL, and exits.
 *
 * usage: sqlite DB make | insert | count
 *
 * `insert` leaves the WAL to the next one who opens it (SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE): a checkpoint at every close
 * costs more, so this is the faster way to use it. `count` prints how many rows there are.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static int run(sqlite3 *db, const char *sql)
{
	char *why = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &why) == SQLITE_OK)
		return 1;
	fprintf(stderr, "sqlite: %s: %s\n", sql, why ? why : "?");
	return 0;
}

int main(int argc, char **argv)
{
	sqlite3 *db;
	sqlite3_stmt *statement;
	char text[300];

	if (argc != 3 || sqlite3_open(argv[1], &db) != SQLITE_OK)
		return 2;
	if (strcmp(argv[2], "make") == 0) {
		if (!run(db, "PRAGMA journal_mode=WAL; CREATE TABLE record (seq INTEGER PRIMARY KEY, text TEXT)"))
			return 3;
	} else if (strcmp(argv[2], "insert") == 0) {
		sqlite3_busy_timeout(db, 60000);
		sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		memset(text, 'x', sizeof text);
		if (!run(db, "PRAGMA synchronous=FULL"))
			return 4;
		if (sqlite3_prepare_v2(db, "INSERT INTO record (text) VALUES (?)", -1, &statement, NULL) != SQLITE_OK)
			return 5;
		sqlite3_bind_text(statement, 1, text, sizeof text, SQLITE_STATIC);
		if (sqlite3_step(statement) != SQLITE_DONE || sqlite3_finalize(statement) != SQLITE_OK)
			return 6;
	} else {
		if (sqlite3_prepare_v2(db, "SELECT count(*) FROM record", -1, &statement, NULL) != SQLITE_OK)
			return 7;
		if (sqlite3_step(statement) != SQLITE_ROW)
			return 8;
		printf("%lld\n", (long long)sqlite3_column_int64(statement, 0));
		sqlite3_finalize(statement);
	}
	return sqlite3_close(db) == SQLITE_OK ? 0 : 9;
}
