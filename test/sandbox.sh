# sandbox.sh: a throwaway PostgreSQL for demo/run, test/run and bench/run
#
# Sourced, not run.  It installs Debian packages if it is root and some are missing,
# makes a private copy of the server's installation (the programs find their files
# relative to themselves), builds idem into that copy and starts a cluster there as
# a user that is not root.  Existing clusters, and the installation itself, are
# never touched; on exit the cluster is stopped and everything is removed.
# With PG_SERVER, a folder with a server laid out as Debian's (usr/lib/postgresql/…), that one is
# copied instead of the machine's.

set -euo pipefail

SANDBOX_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Which major version: $PG_MAJOR, else the one this Debian release comes with.
sandbox_major() {
	if [ -n "${PG_MAJOR:-}" ]; then
		echo "$PG_MAJOR"
	else
		case $(. /etc/os-release; echo "${VERSION_ID:-}") in
			12) echo 15 ;;
			13) echo 17 ;;
			*) echo 18 ;;
		esac
	fi
}

# Installs those of the packages that are missing, without creating a cluster.
sandbox_install() {
	local missing=() package conf=/etc/postgresql-common/createcluster.d

	for package in "$@"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
			grep -q '^install ok installed' || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "missing packages, run as root: ${missing[*]}" >&2
		exit 1
	fi
	echo "installing ${missing[*]} …" >&2
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	mkdir -p $conf
	echo 'create_main_cluster = false' >$conf/idem-sandbox.conf
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$SANDBOX/apt.log" 2>&1 ||
		{ rm -f $conf/idem-sandbox.conf; cat "$SANDBOX/apt.log" >&2; exit 1; }
	rm -f $conf/idem-sandbox.conf
}

# Installs those of the packages that this Debian has, and goes on without the others.
sandbox_install_optional() {
	local package

	[ "$(id -u)" = 0 ] || return 0
	for package in "$@"; do
		[ -z "$(apt-cache show "$package" 2>/dev/null)" ] || (sandbox_install "$package") ||
			echo "goes on without $package" >&2
	done
}

# Runs a command as the user that owns the sandbox.
sandbox_run() {
	if [ "$(id -u)" = 0 ]; then
		runuser -u postgres -- env HOME="$SANDBOX" "$@"
	else
		"$@"
	fi
}

# Stops what runs and removes the sandbox.
sandbox_end() {
	local status=$?

	trap - EXIT
	[ ! -f "$SANDBOX/data/postmaster.pid" ] ||
		sandbox_run "$PG_BIN/pg_ctl" -D "$SANDBOX/data" -m immediate stop >/dev/null 2>&1 || true
	cd /
	! mountpoint -q "$SANDBOX/small" || umount "$SANDBOX/small"
	rm -rf "$SANDBOX"
	exit $status
}

# Makes the sandbox: packages, private installation, idem.  Arguments: more packages;
# SANDBOX_OPTIONAL are some that it can do without.  With SANDBOX_INSTALL set, ends after
# the packages.
sandbox_begin() {
	local major real

	SANDBOX=$(mktemp -d "${TMPDIR:-/tmp}/idem.XXXXXX")
	chmod 755 "$SANDBOX"
	PG_BIN=
	trap sandbox_end EXIT
	trap 'exit 130' INT TERM HUP
	major=$(sandbox_major)
	sandbox_install "postgresql-$major" "postgresql-server-dev-$major" gcc make \
		libc6-dev libssl-dev "$@"
	sandbox_install_optional ${SANDBOX_OPTIONAL:-}
	[ -z "${SANDBOX_INSTALL:-}" ] || exit 0

	# copied, not linked: what is installed into it must not end up where a link leads
	real=/usr/lib/postgresql/$major
	mkdir -p "$SANDBOX$real" "$SANDBOX/usr/share/postgresql" "$SANDBOX/run"
	cp -a "${PG_SERVER:-}$real/bin" "${PG_SERVER:-}$real/lib" "$SANDBOX$real/"
	cp -a "${PG_SERVER:-}/usr/share/postgresql/$major" "$SANDBOX/usr/share/postgresql/"
	ln -s "${PG_SERVER:-}/usr/include" "$SANDBOX/usr/include"
	PG_BIN=$SANDBOX$real/bin
	# every cluster made with it, also by tests, says the SQLSTATE of what it logs
	echo 'log_error_verbosity = verbose' >>"$SANDBOX/usr/share/postgresql/$major/postgresql.conf.sample"

	mkdir "$SANDBOX/idem"
	(cd "$SANDBOX_TOP" && tar cf - --exclude=.git --exclude='*.o' --exclude='*.so' \
		--exclude='*.bc' .) | tar xf - -C "$SANDBOX/idem"
	[ "$(id -u)" != 0 ] || chown -R postgres: "$SANDBOX"
	cd "$SANDBOX/idem"
	sandbox_make >"$SANDBOX/build.log" 2>&1 && sandbox_make install >>"$SANDBOX/build.log" 2>&1 ||
		{ cat "$SANDBOX/build.log" >&2; exit 1; }
}

# make, for the private installation; without bitcode, which needs the server's clang.
sandbox_make() {
	sandbox_run make -s with_llvm=no PG_CONFIG="$PG_BIN/pg_config" "$@"
}

# Starts a cluster, with more settings from the arguments, and points psql at it.
sandbox_start() {
	local setting

	sandbox_run "$PG_BIN/initdb" -D "$SANDBOX/data" -U postgres -A trust \
		-E UTF8 --locale=C.UTF-8 >"$SANDBOX/initdb.log"
	for setting in "unix_socket_directories = '$SANDBOX/run'" "listen_addresses = ''" \
		"port = 54329" "log_min_messages = warning" "$@"; do
		echo "$setting" >>"$SANDBOX/data/postgresql.conf"
	done
	sandbox_run "$PG_BIN/pg_ctl" -D "$SANDBOX/data" -l "$SANDBOX/server.log" -w start >/dev/null
	export PGHOST=$SANDBOX/run PGPORT=54329 PGUSER=postgres PGDATABASE=postgres
	export PATH=$PG_BIN:$PATH
	unset PGSERVICE PGOPTIONS PGPASSWORD
}
