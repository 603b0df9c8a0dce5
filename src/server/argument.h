/*
 * argument.h
 *		Values of arguments that are given as text.
 */
#ifndef IDEM_SERVER_ARGUMENT_H
#define IDEM_SERVER_ARGUMENT_H

/*
 * Runs work(arg), which reads the text of an argument by a type's input function or
 * computes with it: what is wrong with the value is an error that names the argument,
 * with the SQLSTATE and the message of the function's own.
 */
extern void idem_read_argument(const char *argument, const char *text,
							   void (*work)(void *arg), void *arg);

#endif /* IDEM_SERVER_ARGUMENT_H */
