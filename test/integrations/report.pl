# The page of idem_report: what hostile names and texts become in it, and what a real browser makes of it,
# Debian's chromium, where it is installed: no error, no request, nothing wider than the window, light
# and dark, narrow and wide, and printed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";

use IO::Select;
use JSON::PP;
use MIME::Base64;
use POSIX qw(dup2);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'Europe/Berlin'\n");
$node->start;

sub sql { return $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]"); }

# Names, errors, columns and alerts by somebody who would like to have his code run in whoever looks.
my $evil = q{x"'><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>&lt;&amp;</title></style><svg onload=alert(3)>%s -->]]>};
(my $quoted = $evil) =~ s/'/''/g;
my $name = q{x"''><script>alert(1)</script><img src=//evil.example onerror=alert(2)>&lt;%s};
sql(qq{
	CREATE EXTENSION idem CASCADE;
	SELECT idem_create_monitor('watch');
	CREATE TABLE src AS SELECT i AS id, timestamptz '2024-03-01' + i * interval '1 hour' AS at, 1 AS "<script>alert(4)</script>" FROM generate_series(0, 239) i;
	CREATE TABLE "tgt<b>" (id int NOT NULL, at timestamptz NOT NULL, "<script>alert(4)</script>" int);
	SELECT idem_create_ledger('"led<i>"');
	CREATE FUNCTION fail(text) RETURNS int LANGUAGE plpgsql AS \$\$ BEGIN RAISE EXCEPTION '%', \$1; END \$\$;
	SELECT idem_create_pipeline(E'$name \\u202e', '"led<i>"', '"tgt<b>"', 'SELECT * FROM src WHERE at >= \$1 AND at < \$2 AND (\$1 <> ''2024-03-06'' OR fail(E''' || replace(\$\$$quoted\$\$, '''', '''''''''') || ''') = 1)', 'reload', '{id}', 'at',
		step => '1 day', start => '2024-03-01', watermark => 'SELECT timestamptz ''2024-03-12''', time_zone => 'Asia/Tokyo', max_attempts => 1, enabled => false);
	SELECT idem_create_ledger('offsets', 'int8range');
	CREATE TABLE numbers (n bigint PRIMARY KEY);
	SELECT idem_create_pipeline('numbers', 'offsets', 'numbers', 'SELECT generate_series(\$1, \$2 - 1) AS n', 'upsert', '{n}', 'n', '10', '0', watermark => 'SELECT 1005::bigint', enabled => false);
	CALL idem_run_pipeline('numbers');
	SELECT idem_create_pipeline('hours', '"led<i>"', 'src', 'SELECT * FROM src WHERE false', 'reload', NULL, 'at', step => '5 minutes', start => '2024-03-01', time_zone => 'UTC', watermark => 'SELECT timestamptz ''2024-03-20''', enabled => false);
	SELECT idem_create_pipeline('months', '"led<i>"', 'src', 'SELECT * FROM src WHERE false', 'reload', NULL, 'at', step => '1 month', start => '2020-01-01', watermark => 'SELECT timestamptz ''2024-03-01''', enabled => false);
	SELECT idem_create_pipeline('broken', '"led<i>"', 'src', 'SELECT * FROM src', 'reload', NULL, 'at', step => '1 month', start => '2020-01-01', watermark => 'SELECT timestamptz ''2024-03-01'' WHERE fail(''cannot look'') = 1', enabled => false);
});
my ($rc, $out, $err) = $node->psql('postgres', "CALL idem_run_pipeline(E'$name \\u202e')");
like($err, qr/1 of 11 windows/, 'a window fails');
sql(qq{
	CALL idem_reconcile('watch', E'$name \\u202e');
	INSERT INTO "tgt<b>" SELECT * FROM "tgt<b>" WHERE at >= '2024-03-02 00:00 Asia/Tokyo' AND at < '2024-03-03 00:00 Asia/Tokyo';
	DELETE FROM "tgt<b>" WHERE id = 100;
	CALL idem_reconcile('watch', E'$name \\u202e'); CALL idem_reconcile('watch', 'numbers');
	ALTER TABLE watch_alerts ALTER pipeline DROP NOT NULL, ALTER kind DROP NOT NULL, ALTER windows DROP NOT NULL;
	INSERT INTO watch_alerts (pipeline, kind, windows, value, times, opened_at, acknowledged_by) VALUES
		('gone $quoted', '$quoted', '$quoted', -3, 1, 'infinity', '$quoted'), ('numbers', '$quoted', '{[0,10)}', 7, 1, now(), NULL), ('numbers', 'unheard of', 'no range', 7, 1, now(), NULL), (NULL, NULL, NULL, NULL, NULL, NULL, NULL), ('numbers', NULL, NULL, NULL, NULL, NULL, NULL);
	INSERT INTO watch (pipeline, window_range, result, source_rows, target_rows, checked_at) VALUES ('numbers', '[20,30)', 'ok', 9223372036854775807, -9223372036854775807, now());
});

my $page = sql(q{SELECT idem_report('watch')});
my $file = "$PostgreSQL::Test::Utils::tmp_check/report.html";
append_to_file($file, $page);

# Nothing but markup of the page's own: what is a tag in it is one of these, with these attributes.
sub is_safe
{
	my ($html, $what) = @_;
	my %tags = map { $_ => 1 } qw(html head meta link title style body main header div h1 h2 h3 h4 p dl dt dd article section ul li span a table thead tbody tr th td code pre
		svg defs pattern rect path circle text details summary time footer);
	my %attributes = map { $_ => 1 } qw(lang charset http-equiv content name rel href class id role aria-label aria-hidden scope data-l d fill x y width height rx r cx cy viewBox
		preserveAspectRatio patternUnits stroke-width text-anchor pointer-events);
	my (@bad, $stack);
	(my $body = $html) =~ s/^<!DOCTYPE html>\n//;

	while ($body =~ /<(\/?)([^\s<>\/]*)((?:[^<>"]|"[^"<>]*")*)>/g)
	{
		my ($end, $tag, $rest) = ($1, $2, $3);
		push @bad, $tag if !$tags{$tag};
		push @bad, "$tag $1" while $rest =~ /([^\s=\/]+)="[^"]*"/g && !$attributes{$1};
		(my $left = $rest) =~ s/[^\s=\/]+="[^"]*"//g;
		push @bad, "$tag: $left" if $left !~ /^[\s\/]*$/;
	}
	(my $text = $body) =~ s/<(\/?)([^\s<>\/]*)((?:[^<>"]|"[^"<>]*")*)>//g;
	push @bad, 'a stray <' if $text =~ /</;
	is("@bad[0 .. ($#bad > 5 ? 5 : $#bad)]", '', "$what: all that is markup is the page's own");
	unlike($html, qr/[^\x09\x0a\x20-\x7e]/, "$what: all of it is ASCII");
	unlike($html, qr/(?:src|href|action|xlink:href)="(?!#p\d+"|data:,")|url\((?!#c\d+\w+\))|\@import|<script|javascript:/i, "$what: it refers to nothing outside");
	return;
}
is_safe($page, 'hostile texts');
ok($page =~ qr/x&quot;&#39;&gt;&lt;script&gt;alert\(1\)&lt;\/script&gt;&lt;img src=\/\/evil\.example onerror=alert\(2\)&gt;&amp;lt;%s \[U\+202E\]/, 'a name is shown as it is');
ok($page =~ qr/x&quot;&#39;&gt;&lt;script&gt;alert\(1\)&lt;\/script&gt;&lt;img src=http:\/\/evil\.example\/x onerror=alert\(2\)&gt;&amp;lt;&amp;amp;/, 'and so is an error');
ok($page =~ qr/\[U\+202E\]/, 'what would turn the order of letters is shown as what it is');
ok($page =~ qr/default-src 'none'; style-src 'unsafe-inline'/, 'the policy lets nothing in');
ok($page =~ qr/cannot look/, 'a pipeline that cannot be read shows its error');
ok($page =~ qr/aria-label="windows: 1 blocked, 10 complete"/, 'and hides no other');
ok($page =~ qr/aria-label="windows: 100 complete"/, 'offsets');

# the statements are those that mend it: run as they stand, nothing is open of it any more
my ($card) = $page =~ /<article class="card care">(.*?)<\/article>/s;
my ($statements) = $card =~ /<pre><code>(.*?)<\/code><\/pre>/s;
$statements =~ s/<[^>]*>//g;
$statements =~ s/\[U\+202E\]/\x{e2}\x{80}\x{ae}/g;
$statements =~ s/&lt;/</g; $statements =~ s/&gt;/>/g; $statements =~ s/&quot;/"/g; $statements =~ s/&#39;/'/g; $statements =~ s/&amp;/&/g;
like($statements, qr/'\[2024-03-02,2024-03-03\)'/, "windows are days of the pipeline's time zone");
sql('CREATE OR REPLACE FUNCTION fail(text) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$');
($rc, $out, $err) = $node->psql('postgres', "SET client_encoding = 'UTF8'; SET client_min_messages = error;\n$statements", on_error_stop => 1);
is($err, '', 'what is shown to mend it can be run');
is(sql(qq{SELECT count(*) FROM watch_alerts WHERE closed_at IS NULL AND pipeline LIKE 'x%'}), '0', '… and mends it');
like(sql(q{SELECT idem_report('watch')}), qr/Alerts that have closed/, 'what has closed is shown');

# ten thousand windows: small, and nothing left out; of more it is said
sql(q{INSERT INTO offsets (pipeline, window_range, state) SELECT 'numbers', int8range(n * 10, n * 10 + 10), 'complete' FROM generate_series(101, 9999) n WHERE n % 2 = 0;
	INSERT INTO watch (pipeline, window_range, result, source_rows, target_rows, checked_at) SELECT 'numbers', format('[%s,%s)', n * 10, n * 10 + 10), 'ok', 10 + n % 7, 10 + n % 5, now() FROM generate_series(101, 9999) n WHERE n % 2 = 0;
	SELECT idem_alter_pipeline('numbers', watermark => 'SELECT 100000::bigint')});
$page = sql(q{SELECT idem_report('watch')});
ok($page =~ qr/aria-label="windows: 4951 missing, 5049 complete"/, 'ten thousand windows');
cmp_ok(length($page), '<', 1_000_000, 'are less than a megabyte: ' . length($page));
is_safe($page, 'ten thousand windows');
my $large = "$PostgreSQL::Test::Utils::tmp_check/large.html";
append_to_file($large, $page);
sql(q{SELECT idem_alter_pipeline('numbers', watermark => 'SELECT 100500::bigint')});
like(sql(q{SELECT idem_report('watch')}), qr/50 earlier windows left out/, 'what is left out is said');
like(sql(q{SELECT idem_report('watch', to_bound => '1000')}), qr/aria-label="windows: 100 complete"/, 'bounds are those of the type they are of');
like(($node->psql('postgres', q{SELECT idem_report('watch', 'no bound')}))[2], qr/from_bound/, 'those that are of none are an error');
is(sql(q{SELECT idem_report('watch', '2024-03-01', '2024-03-04') ~ 'aria-label="windows: 3 complete"'}), 't', 'days');

# An encoding that is not UTF-8
sql(q{CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0});
$page = $node->safe_psql('latin', qq{SET client_min_messages = error; SET client_encoding = 'UTF8'; CREATE EXTENSION idem CASCADE; SELECT idem_create_monitor('watch') \\g /dev/null
	INSERT INTO watch_alerts (pipeline, kind, windows) VALUES (E'\\u00e9t\\u00e9 \\u0085', 'missing', '{}'); SELECT idem_report('watch')});
ok($page =~ qr/&#xE9;t&#xE9; \[U\+0085\]/, 'letters of another encoding');
is_safe($page, 'another encoding');

# A browser, told by its debugging protocol over a pair of pipes.
my $browser;
sub start_browser
{
	pipe(my $from_us, my $to_browser) or die;
	pipe(my $from_browser, my $to_us) or die;
	my $profile = "$PostgreSQL::Test::Utils::tmp_check/browser";
	my $pid = fork // die "no process for the browser: $!";

	if ($pid == 0)
	{
		setpgrp;
		open STDOUT, '>', "$PostgreSQL::Test::Utils::tmp_check/log/browser.log" or die;
		open STDERR, '>&', \*STDOUT or die;
		# both are moved out of the way first, for they may be each other's
		dup2($from_us->fileno, 20); dup2($to_us->fileno, 21);
		dup2(20, 3); dup2(21, 4);
		$ENV{HOME} = $profile;
		mkdir $profile;
		exec 'chromium', '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', "--user-data-dir=$profile", '--remote-debugging-pipe', 'about:blank' or die;
	}
	close $from_us;
	close $to_us;
	$to_browser->autoflush(1);
	$browser = { pid => $pid, to => $to_browser, from => $from_browser, rest => '', id => 0, events => [] };
	my ($target) = grep { $_->{type} eq 'page' } @{ask('Target.getTargets')->{targetInfos}};
	$browser->{session} = ask('Target.attachToTarget', { targetId => $target->{targetId}, flatten => JSON::PP::true })->{sessionId};
	ask($_) foreach qw(Page.enable Runtime.enable Log.enable Network.enable);
	return;
}

# The next message.
sub next_message
{
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	my $end;
	while (($end = index($browser->{rest}, "\0")) < 0)
	{
		die 'the browser says nothing' if !IO::Select->new($browser->{from})->can_read($until - time);
		sysread($browser->{from}, $browser->{rest}, 1 << 20, length $browser->{rest}) or die 'the browser has ended';
	}
	return decode_json(substr($browser->{rest}, 0, $end + 1, '') =~ s/\0$//r);
}

# Asks for something and returns the answer; what comes in between is kept.
sub ask
{
	my ($method, $params) = @_;
	my $id = ++$browser->{id};

	syswrite($browser->{to}, encode_json({ id => $id, method => $method, params => $params // {}, $browser->{session} ? (sessionId => $browser->{session}) : () }) . "\0");
	while (my $message = next_message())
	{
		if (($message->{id} // 0) != $id) { push @{$browser->{events}}, $message; next; }
		die "$method: $message->{error}{message}" if $message->{error};
		return $message->{result};
	}
	return;
}

# Waits for an event.
sub await_event
{
	my $method = shift;
	until (grep { ($_->{method} // '') eq $method } @{$browser->{events}}) { push @{$browser->{events}}, next_message(); }
	return;
}

sub evaluate { return ask('Runtime.evaluate', { expression => shift, returnByValue => JSON::PP::true })->{result}{value}; }

# What is wider than the window, or than what it is in and cut off there.
my $overflow = q{(() => { const bad = []; const w = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth > w) bad.push('page ' + document.documentElement.scrollWidth);
	for (const e of document.querySelectorAll('body *')) { if (e.closest('svg') && e.tagName !== 'svg') continue; const r = e.getBoundingClientRect();
		if (getComputedStyle(e).clipPath !== 'none' || e.closest('thead') && getComputedStyle(e.closest('thead')).clipPath !== 'none') continue;
		if (r.right > w + 0.5 || r.left < -0.5) bad.push(e.tagName + '.' + e.getAttribute('class') + ' ' + Math.round(r.right)); }
	return bad.slice(0, 5).join(', '); })()};
# The contrast of the text of elements with what is behind them, the least of all.
my $contrast = q{(() => { const lum = c => { const [r, g, b] = c.match(/[\d.]+/g).map(Number).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	let least = 99; for (const e of document.querySelectorAll('p,span,h1,h2,h3,h4,td,th,dt,dd,a,code,div,time,footer,li,summary')) { if (!e.textContent.trim()) continue; let b = e; while (b && /rgba\(0, 0, 0, 0\)/.test(getComputedStyle(b).backgroundColor)) b = b.parentElement;
		const one = lum(getComputedStyle(e).color), other = lum(getComputedStyle(b || document.body).backgroundColor); least = Math.min(least, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)); }
	return least; })()};

SKIP:
{
	skip 'chromium is not installed', 46 if system('command -v chromium >/dev/null') != 0;
	start_browser();
	foreach my $shown ([ 'hostile texts', $file ], [ 'ten thousand windows', $large ])
	{
		my ($what, $path) = @$shown;
		foreach my $width (400, 1400)
		{
			foreach my $scheme ('light', 'dark')
			{
				$browser->{events} = [];
				ask('Emulation.setDeviceMetricsOverride', { width => $width, height => 900, deviceScaleFactor => 1, mobile => JSON::PP::false });
				ask('Emulation.setEmulatedMedia', { media => 'screen', features => [ { name => 'prefers-color-scheme', value => $scheme } ] });
				ask('Page.navigate', { url => "file://$path" });
				await_event('Page.loadEventFired');
				is(evaluate($overflow), '', "$what, $width wide, $scheme: nothing is wider than the window");
				is(evaluate('document.scripts.length + document.images.length + document.querySelectorAll("iframe,object,embed,form").length'), 0, 'there is nothing that could run or load');
				is(evaluate('getComputedStyle(document.body).backgroundColor'), $scheme eq 'light' ? 'rgb(245, 246, 248)' : 'rgb(14, 17, 22)', 'the colours are those that were asked for');
				cmp_ok(evaluate($contrast), '>=', 4.5, 'and can be read') if $path eq $file;
				is(join(' ', map { $_->{params}{request}{url} } grep { $_->{method} eq 'Network.requestWillBeSent' && $_->{params}{request}{url} !~ /^(?:file:\/\/\Q$path\E|data:,)$/ } @{$browser->{events}}), '', 'it asks nobody for anything');
				is(join(' ', map { encode_json($_->{params}) } grep { $_->{method} =~ /^(?:Runtime\.exceptionThrown|Runtime\.consoleAPICalled|Log\.entryAdded|Page\.javascriptDialogOpening)$/ } @{$browser->{events}}), '', 'and the console says nothing');
			}
		}
	}
	# printed: in light colours whatever is preferred, and all of it
	ask('Emulation.setEmulatedMedia', { media => 'print', features => [ { name => 'prefers-color-scheme', value => 'dark' } ] });
	is(evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(255, 255, 255)', 'it is printed on white');
	like(decode_base64(ask('Page.printToPDF', { printBackground => JSON::PP::false })->{data}), qr/^%PDF-/, 'it can be printed');
	kill 'KILL', -$browser->{pid};
	waitpid $browser->{pid}, 0;
}

$node->stop;
done_testing();
