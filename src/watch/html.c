/*
 * html.c
 *		Text, numbers and times as HTML, whatever somebody has put into them.
 *
 * The page has no script and asks nobody for anything; its policy says so to the browser, so
 * that even markup which got through would do nothing.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "watch/html.h"

/* True for what is not seen, or turns what is next to it: Unicode's controls and overrides. */
static bool
is_invisible(pg_wchar c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
		   (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
		   (c >= 0xe0000 && c <= 0xe0fff) || (c & 0xfffe) == 0xfffe;
}

/* Appends a character. */
static void
append_character(StringInfo buf, pg_wchar c)
{
	if (c == '<')
		appendStringInfoString(buf, "&lt;");
	else if (c == '>')
		appendStringInfoString(buf, "&gt;");
	else if (c == '&')
		appendStringInfoString(buf, "&amp;");
	else if (c == '"')
		appendStringInfoString(buf, "&quot;");
	else if (c == '\'')
		appendStringInfoString(buf, "&#39;");
	else if (c == '\n' || c == '\t')
		appendStringInfoChar(buf, (char) c);
	else if (is_invisible(c))
		appendStringInfo(buf, "[U+%04X]", c);
	else if (c < 0x7f)
		appendStringInfoChar(buf, (char) c);
	else
		appendStringInfo(buf, "&#x%X;", c);
}

/* By characters of UTF-8; bytes that are none, as a database of SQL_ASCII may hold, are shown as U+FFFD. */
void
idem_html_text(StringInfo buf, const char *text, int max)
{
	const unsigned char *p = (const unsigned char *) pg_server_to_any(text, strlen(text), PG_UTF8);
	const unsigned char *end = p + strlen((const char *) p);
	const unsigned char *stop = max > 0 && end - p > max ? p + max : end;

	while (p < stop)
	{
		int length = pg_utf_mblen(p);

		if (length > end - p || !pg_utf8_islegal(p, length))
		{
			appendStringInfoString(buf, "&#xFFFD;");
			p++;
			continue;
		}
		append_character(buf, utf8_to_unicode(p));
		p += length;
	}
	if (stop < end)
		appendStringInfoString(buf, "&hellip;");
}

void
idem_html_count(StringInfo buf, int64 count)
{
	char digits[32];
	int n = snprintf(digits, sizeof(digits), INT64_FORMAT, count);
	int i;

	for (i = 0; i < n; i++)
	{
		appendStringInfoChar(buf, digits[i]);
		if ((n - i) % 3 == 1 && i + 1 < n && digits[i] != '-')
			appendStringInfoChar(buf, ',');
	}
}

void
idem_html_time(StringInfo buf, TimestampTz time, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t fsec;
	int tz;

	if (time == 0 || TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, &tz, &tm, &fsec, NULL, zone) != 0)
	{
		appendStringInfoString(buf, "&ndash;");
		return;
	}
	appendStringInfo(buf, "<time>%04d-%02d-%02d %02d:%02d</time>", tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min);
}

void
idem_html_span(StringInfo buf, int64 seconds)
{
	static const struct
	{
		int64 length;
		const char *name;
	} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	int i = 0;

	if (seconds < 0)
		appendStringInfoChar(buf, '-');
	seconds = seconds < 0 ? -seconds : seconds;
	while (i < 3 && seconds < units[i].length)
		i++;
	appendStringInfo(buf, INT64_FORMAT "&nbsp;%s", seconds / units[i].length, units[i].name);
	if (i < 2 && seconds % units[i].length >= units[i + 1].length && seconds / units[i].length < 10)
		appendStringInfo(buf, " " INT64_FORMAT "&nbsp;%s", seconds % units[i].length / units[i + 1].length, units[i + 1].name);
}

#define LIGHT                                                                                             \
	"--bg:#f5f6f8;--card:#fff;--ink:#1a1f26;--soft:#56616d;--line:#dde2e8;--code:#f2f4f7;--ok:#24804f;"  \
	"--none:#93a0ad;--bad:#c8352b;--badbg:#fdf1f0;--warn:#9a6200;--warnbg:#fdf6e7;--dot:#e08a00;--run:#2a6bb5;--link:#1f5ea8;"
#define DARK                                                                                              \
	"--bg:#0e1116;--card:#161b22;--ink:#e4e8ed;--soft:#98a4b1;--line:#2a323c;--code:#0f141a;--ok:#3fae78;" \
	"--none:#59646f;--bad:#f2685d;--badbg:#2a1717;--warn:#e9b04b;--warnbg:#272012;--dot:#f5a623;--run:#5ea8f2;--link:#7db7f5;"

/* Colours differ and so do shapes; what a printer gets is the light one, with what is on screen a ground left out. */
static const char style[] =
	":root{color-scheme:light dark;" LIGHT "}\n"
	"@media(prefers-color-scheme:dark){:root{" DARK "}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif;"
	"font-variant-numeric:tabular-nums;overflow-wrap:anywhere;-webkit-text-size-adjust:100%}\n"
	"main{max-width:1240px;margin:0 auto;padding:28px 24px 64px}\n"
	"a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}a:focus-visible,summary:focus-visible{outline:2px solid var(--link);outline-offset:2px}\n"
	"h1{font-size:27px;line-height:1.2;margin:2px 0 4px;letter-spacing:-.01em}\n"
	"h2{font-size:19px;margin:40px 0 14px;letter-spacing:-.005em}\n"
	"h3{font-size:16px;margin:0}h4{font-size:13px;margin:0 0 8px;color:var(--soft);font-weight:600}\n"
	".brand{font-size:12px;letter-spacing:.08em;text-transform:uppercase;color:var(--soft);font-weight:600}\n"
	".soft{color:var(--soft)}.small{font-size:13px}p{margin:6px 0}.none{color:var(--soft)}time,.nb{white-space:nowrap}\n"
	"code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12.5px}\n"
	"pre{background:var(--code);border:1px solid var(--line);border-radius:6px;padding:10px 12px;margin:8px 0 0;white-space:pre-wrap;line-height:1.55}pre .c{color:var(--soft)}\n"
	".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0 0}\n"
	".tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px;display:flex;flex-direction:column-reverse;justify-content:flex-end}\n"
	".tiles dt{font-size:13px;color:var(--soft)}.tiles dd{margin:0;font-size:26px;font-weight:650;line-height:1.25}.tiles .bad dd{color:var(--bad)}.tiles .warn dd{color:var(--warn)}.tiles .ok dd{color:var(--ok)}\n"
	".card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin:0 0 14px}\n"
	".care{border-left:4px solid var(--bad)}.care.warn{border-left-color:var(--dot)}.fine{border-left:4px solid var(--ok)}\n"
	".head{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline;margin-bottom:8px}.head .soft{font-size:13px}\n"
	".list{list-style:none;margin:0;padding:0}.list li{padding:9px 0 8px;border-top:1px solid var(--line)}.list li:first-child{border-top:0;padding-top:2px}\n"
	".tag{display:inline-block;font-size:12px;font-weight:600;line-height:1;padding:4px 7px;border-radius:4px;background:var(--code);color:var(--soft);border:1px solid var(--line);max-width:100%;margin-right:6px}\n"
	".tag.bad{background:var(--badbg);color:var(--bad);border-color:currentColor}.tag.warn{background:var(--warnbg);color:var(--warn);border-color:currentColor}.tag.ok{color:var(--ok)}.tag.run{color:var(--run)}\n"
	"table{border-collapse:collapse;width:100%;font-size:14px}th{font-size:12px;font-weight:600;color:var(--soft);text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);vertical-align:bottom}\n"
	"td{padding:8px 10px;border-bottom:1px solid var(--line);vertical-align:middle}tr:last-child td{border-bottom:0}.num{text-align:right}td.hot{color:var(--bad);font-weight:600}\n"
	".over{padding:6px 8px}.over td:first-child{font-weight:600}svg{display:block}.strip{width:190px;height:20px;max-width:100%}\n"
	".two{display:grid;grid-template-columns:minmax(0,430px) minmax(0,1fr);gap:20px 36px;margin-top:14px}.cal{width:100%;height:auto;max-width:430px}\n"
	".ok{color:var(--ok)}.f-ok{fill:var(--ok)}.f-bad{fill:var(--bad)}.f-run{fill:var(--run)}.f-dot{fill:var(--dot)}.f-none{fill:var(--none)}.f-card{fill:var(--card)}.s-none{fill:none;stroke:var(--none)}.s-card{fill:none;stroke:var(--card)}.s-dot{stroke:var(--card)}\n"
	"svg text{fill:var(--soft);font-size:10px;font-family:inherit}\n"
	".legend{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:12px;color:var(--soft);margin:10px 0 0;padding:0;list-style:none}.legend li{display:flex;gap:5px;align-items:center}.legend svg{width:11px;height:11px;flex:none}\n"
	".chart svg{width:100%;height:150px;overflow:visible}.axis{display:flex;justify-content:space-between;gap:12px;font-size:12px;color:var(--soft)}.chart{border-bottom:1px solid var(--line);margin-bottom:4px}\n"
	".src{fill:var(--none);opacity:.3}.tgt{fill:none;stroke:var(--run);stroke-width:2;vector-effect:non-scaling-stroke;stroke-linejoin:round}.srcl{fill:none;stroke:var(--none);stroke-width:1.5;vector-effect:non-scaling-stroke}\n"
	".off{fill:none;stroke:var(--bad);stroke-width:7;stroke-linecap:round;vector-effect:non-scaling-stroke}\n"
	".more{margin-top:22px}.more+.more{margin-top:18px}.more td:first-child,.more th:first-child{padding-left:0}.more .num+td,.more .num+th{padding-left:26px}h4.mend{margin:12px 0 0}details summary{cursor:pointer;color:var(--link);font-size:13px;margin:4px 0 8px}footer{margin-top:36px;color:var(--soft);font-size:13px}\n"
	"@media screen and (max-width:860px){.two{grid-template-columns:minmax(0,1fr)}main{padding:20px 14px 40px}h1{font-size:23px}.card{padding:14px}\n"
	".wide thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}.wide,.wide tbody,.wide tr,.wide td{display:block;width:100%}.wide tr{padding:10px 0;border-bottom:1px solid var(--line)}.wide tr:last-child{border-bottom:0}\n"
	".wide td{display:flex;justify-content:space-between;gap:14px;border:0;padding:2px 6px;text-align:right}.wide td:first-child{display:block;text-align:left;font-size:15px}.more .num+td{padding-left:6px}.wide td[data-l]::before{content:attr(data-l);color:var(--soft);text-align:left;font-weight:400;flex:none}.strip{max-width:60%}.tiles{grid-template-columns:repeat(2,1fr)}.tiles dd{font-size:22px}}\n"
	"@media print{:root{color-scheme:light;" LIGHT "--bg:#fff}body{font-size:12px}main{padding:0;max-width:none}h2{break-after:avoid;margin-top:24px}.card{break-inside:avoid}.pipe,.care,.over{break-inside:auto}.over table{font-size:11px}td,th{padding:5px 6px}.tiles{gap:8px;grid-template-columns:repeat(5,1fr)}.strip{width:130px}.two,.more,tr,li{break-inside:avoid}a{color:inherit}\n"
	".two{grid-template-columns:1fr 1fr}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}\n";

void
idem_html_begin(StringInfo buf, const char *title)
{
	appendStringInfoString(buf,
						   "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
						   "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
						   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
						   "<meta name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n<title>");
	idem_html_text(buf, title, 0);
	appendStringInfo(buf, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n", style);
}

void
idem_html_end(StringInfo buf)
{
	appendStringInfoString(buf, "</main>\n</body>\n</html>\n");
}
