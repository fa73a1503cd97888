/* The floor: what a durable grant costs at least, as a process of its own.
 *
 * usage: floor DIR
 *
 * Takes DIR/lock with O_EXCL, reads DIR/journal (the bench keeps it at about 16 KiB), appends 300 bytes to it,
 * waits for the disk, removes the lock. No parsing, no checksum, no decision, no recovery.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char text[1 << 16];
	char line[300];
	int lock, journal;

	if (argc != 2 || chdir(argv[1]) != 0)
		return 2;
	lock = open("lock", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (lock < 0)
		return 3;
	journal = open("journal", O_RDWR | O_APPEND | O_CLOEXEC);
	if (journal < 0 || read(journal, text, sizeof text) <= 0)
		return 4;
	memset(line, 'x', sizeof line);
	line[sizeof line - 1] = '\n';
	if (write(journal, line, sizeof line) != (ssize_t)sizeof line)
		return 5;
	if (fdatasync(journal) != 0)
		return 6;
	if (unlink("lock") != 0)
		return 7;
	return 0;
}
