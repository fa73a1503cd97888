/* The memory of one program: what getrusage calls its maximum resident set.
 *
 * usage: peak FILE PROGRAM [ARG...]
 *
 * Runs PROGRAM, writes the KiB it had resident at most into FILE, and ends with its exit code. The bench cannot ask
 * for itself: a child starts with the peak of the process it was forked from, and that of this one is below 1 MiB.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rusage usage;
	int status;
	pid_t child;
	FILE *file;

	if (argc < 3)
		return 100;
	child = fork();
	if (child < 0)
		return 101;
	if (child == 0) {
		execv(argv[2], argv + 2);
		_exit(102);
	}
	if (wait4(child, &status, 0, &usage) != child || !WIFEXITED(status))
		return 103;
	file = fopen(argv[1], "w");
	if (!file || fprintf(file, "%ld\n", usage.ru_maxrss) < 0 || fclose(file) != 0)
		return 104;
	return WEXITSTATUS(status);
}
