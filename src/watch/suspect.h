/*
 * suspect.h
 *		What makes a load come out otherwise each time, as far as one can read it.
 */
#ifndef IDEM_WATCH_SUSPECT_H
#define IDEM_WATCH_SUSPECT_H

#include "load/source.h"
#include "nodes/nodes.h"

/* What is suspicious in a query or an expression: "now(), random()"; NULL if there is nothing. */
extern char *idem_suspects(Node *node);

/* The same of the columns that a target fills in by itself: "id: nextval(regclass)"; in a target whose source is known. */
extern char *idem_suspect_defaults(const IdemTarget *target);

#endif /* IDEM_WATCH_SUSPECT_H */
