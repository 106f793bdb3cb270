/* The verbs of rubric-worker beside `run`. Each gets the arguments after its name and returns the
 * exit status. */
#ifndef WORKER_VERBS_H
#define WORKER_VERBS_H

int verb_run(int argc, char **argv);
int verb_classify(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_demo(int argc, char **argv);
int verb_check_config(int argc, char **argv);

#endif
