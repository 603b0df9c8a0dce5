# idem: idempotent data pipelines for PostgreSQL
#
# make, make install and make installcheck are those of any PGXS extension;
# make demo and make test need nothing but a fresh Debian and root.

EXTENSION = idem
MODULE_big = idem
DATA = idem--1.0.sql
DOCS = $(wildcard doc/*.md)
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

PG_CONFIG ?= pg_config
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers
SHLIB_LINK += $(filter -lcrypto,$(LIBS))

REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=btree_gist --load-extension=idem
ISOLATION = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=test/isolation \
	--load-extension=btree_gist --load-extension=idem
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl test/integrations/*.pl
EXTRA_CLEAN = test/isolation/output_iso test/isolation/results tmp_check

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# the pages have plain names, so they get a folder of their own
docmoduledir = $(EXTENSION)

$(OBJS): $(wildcard src/*/*.h)

.PHONY: demo test bench format lint

demo:
	demo/run

test:
	test/run

bench:
	bench/run

format:
	clang-format -i src/*.c src/*/*.[ch]

lint:
	test/lint
