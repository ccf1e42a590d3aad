/* svg.c - line charts and bar charts as SVG files that any browser shows, and pages of heat maps
 * and words.  Colours are those of Okabe and Ito, which colour-blind readers can tell apart. */
#include "data.h"
#include "file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 720
#define HEIGHT 420
#define LEFT 74                  /* the plot's edges                                          */
#define TOP 44
#define BOTTOM 352
#define LIMIT 1e15               /* larger values are left out, as are NaN and infinity       */

static const char *const colors[8] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
                                      "#56B4E9", "#000000", "#F0E442"};

typedef struct { double lo, hi, step; int decimals; } Axis;

static int is_drawn(double v) {
    return v >= -LIMIT && v <= LIMIT;
}

/* v with fixed decimals, whatever the locale: printf("%.2f") writes a comma in some. */
static void put_number(FILE *f, double v, int decimals) {
    double scale = 1;
    for (int i = 0; i < decimals; i++) scale *= 10;
    int64_t n = (int64_t)((v < 0 ? -v : v) * scale + 0.5), unit = (int64_t)scale;
    fprintf(f, "%s%.0f", v < 0 && n > 0 ? "-" : "", (double)(n / unit));
    if (decimals > 0) fprintf(f, ".%0*.0f", decimals, (double)(n % unit));
}

static void put_text(FILE *f, const char *s, size_t n) {
    for (size_t i = 0; i < n && s[i]; i++) {
        if (s[i] == '&') fputs("&amp;", f);
        else if (s[i] == '<') fputs("&lt;", f);
        else if (s[i] == '>') fputs("&gt;", f);
        else if (s[i] == '"') fputs("&quot;", f);
        else fputc((unsigned char)s[i] < ' ' ? ' ' : s[i], f);   /* XML has no control bytes  */
    }
}

static void put_label(FILE *f, double x, double y, const char *anchor, const char *s, size_t n) {
    fputs("<text x=\"", f);
    put_number(f, x, 1);
    fputs("\" y=\"", f);
    put_number(f, y, 1);
    fprintf(f, "\" text-anchor=\"%s\">", anchor);
    put_text(f, s, n);
    fputs("</text>\n", f);
}

/* <kind with four numbers by name; the tag stays open. */
static void put_open(FILE *f, const char *kind, const char *const *names, const double *at) {
    fprintf(f, "<%s", kind);
    for (int i = 0; i < 4; i++) {
        fprintf(f, " %s=\"", names[i]);
        put_number(f, at[i], 1);
        fputc('"', f);
    }
}

static void put_rect(FILE *f, double x, double y, double wide, double high) {
    static const char *const names[4] = {"x", "y", "width", "height"};
    put_open(f, "rect", names, (const double[]){x, y, wide, high});
}

static void put_line(FILE *f, double x1, double y1, double x2, double y2, const char *color,
                     int width) {
    static const char *const names[4] = {"x1", "y1", "x2", "y2"};
    put_open(f, "line", names, (const double[]){x1, y1, x2, y2});
    fprintf(f, " stroke=\"%s\" stroke-width=\"%d\"/>\n", color, width);
}

/* Round ends and ticks for values from lo to hi: steps of 1, 2 or 5 times a power of ten, five
 * to ten of them. */
static Axis make_axis(double lo, double hi) {
    double size = hi > -lo ? hi : -lo, power = 1;
    if (hi - lo < 1e-9 || hi - lo < 1e-9 * size) {     /* one value, or none: some room       */
        lo -= size > 1 ? size / 2 : 0.5;
        hi += size > 1 ? size / 2 : 0.5;
    }
    Axis a = {lo, hi, 0, 0};
    double span = hi - lo;
    while (power * 10 <= span) power *= 10;
    for (; power > span; power /= 10) a.decimals++;
    if (span < 5 * power && power <= 1) a.decimals++;
    a.step = span < 2 * power ? power / 5 : span < 5 * power ? power / 2 : power;
    int64_t first = (int64_t)(lo / a.step), last = (int64_t)(hi / a.step);
    first -= (double)first * a.step > lo + 1e-9 * a.step;
    last += (double)last * a.step < hi - 1e-9 * a.step;
    a.lo = (double)first * a.step;
    a.hi = (double)last * a.step;
    return a;
}

static double place(const Axis *a, double v, double from, double to) {
    return from + (v - a->lo) / (a->hi - a->lo) * (to - from);
}

static void put_head(FILE *f, const char *title) {
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\""
            " viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#FFFFFF\"/>\n<g font-size=\"15\">\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    put_label(f, LEFT, 26, "start", title, strlen(title));
    fputs("</g>\n", f);
}

/* Background, title, and the y axis with its grid; the plot ends at x = right. */
static void put_frame(FILE *f, const char *title, const char *ylabel, const Axis *y, double right) {
    put_head(f, title);
    fprintf(f, "<g transform=\"translate(18 %d) rotate(-90)\">\n", (TOP + BOTTOM) / 2);
    put_label(f, 0, 0, "middle", ylabel, strlen(ylabel));
    fputs("</g>\n", f);
    for (int i = 0; y->lo + i * y->step < y->hi + y->step / 2; i++) {
        double v = y->lo + i * y->step, at = place(y, v, BOTTOM, TOP);
        put_line(f, LEFT, at, right, at, i ? "#DDDDDD" : "#333333", 1);
        fprintf(f, "<text x=\"%d\" y=\"", LEFT - 8);
        put_number(f, at + 4, 1);
        fputs("\" text-anchor=\"end\">", f);
        put_number(f, v, y->decimals);
        fputs("</text>\n", f);
    }
}

static void put_x_axis(FILE *f, const char *label, const Axis *x, double right) {
    for (int i = 0; x->lo + i * x->step < x->hi + x->step / 2; i++) {
        double v = x->lo + i * x->step, at = place(x, v, LEFT, right);
        put_line(f, at, BOTTOM, at, BOTTOM + 5, "#333333", 1);
        fputs("<text x=\"", f);
        put_number(f, at, 1);
        fprintf(f, "\" y=\"%d\" text-anchor=\"middle\">", BOTTOM + 20);
        put_number(f, v, x->decimals);
        fputs("</text>\n", f);
    }
    put_label(f, (LEFT + right) / 2, BOTTOM + 44, "middle", label, strlen(label));
}

/* A gap where a point cannot be drawn; "h0" lets a point between gaps show as a dot. */
static void put_curve(FILE *f, const SvgLine *line, const Axis *x, const Axis *y, double right,
                      const char *color) {
    int in_gap = 1;
    fputs("<path d=\"", f);
    for (int i = 0; i < line->n; i++) {
        int drawn = is_drawn(line->x[i]) && is_drawn(line->y[i]);
        if (drawn) {
            fputs(in_gap ? "M" : "L", f);
            put_number(f, place(x, line->x[i], LEFT, right), 2);
            fputc(' ', f);
            put_number(f, place(y, line->y[i], BOTTOM, TOP), 2);
            fputs(in_gap ? "h0\n" : "\n", f);
        }
        in_gap = !drawn;
    }
    fprintf(f, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-linecap=\"round\""
            " stroke-linejoin=\"round\"/>\n", color);
}

/* x of all lines, y of those of the left axis. */
static void find_range(const SvgLine *lines, int n_lines, Axis *x, Axis *y) {
    double lo[2] = {LIMIT, LIMIT}, hi[2] = {-LIMIT, -LIMIT};
    for (int l = 0; l < n_lines; l++)
        for (int i = 0; i < lines[l].n; i++) {
            const double v[2] = {lines[l].x[i], lines[l].y[i]};
            for (int k = 0; k < 2 - lines[l].share && is_drawn(v[0]) && is_drawn(v[1]); k++) {
                if (v[k] < lo[k]) lo[k] = v[k];
                if (v[k] > hi[k]) hi[k] = v[k];
            }
        }
    for (int k = 0; k < 2; k++) {
        if (lo[k] > hi[k]) lo[k] = hi[k] = 0;          /* nothing to draw                     */
        if (lo[k] > 0 && lo[k] < 0.4 * hi[k]) lo[k] = 0;         /* zero is near: show it     */
    }
    *x = make_axis(lo[0], hi[0]);
    *y = make_axis(lo[1], hi[1]);
}

/* The axis of shares, from 0 to 1. */
static const Axis share_axis = {0, 1, 0.2, 1};

static void put_share_axis(FILE *f, double right) {
    static const char label[] = "share";
    for (int i = 0; i <= 5; i++) {
        double at = place(&share_axis, i * 0.2, BOTTOM, TOP);
        put_line(f, right, at, right + 5, at, "#333333", 1);
        fputs("<text x=\"", f);
        put_number(f, right + 9, 1);
        fputs("\" y=\"", f);
        put_number(f, at + 4, 1);
        fputs("\">", f);
        put_number(f, i * 0.2, 1);
        fputs("</text>\n", f);
    }
    put_label(f, right, TOP - 12, "middle", label, strlen(label));
}

static int close_svg(FileOut *out, char *err) {
    fputs("</svg>\n", file_stream(out));
    return file_end(out, NULL, err);
}

int svg_lines(const char *path, const char *title, const char *xlabel, const char *ylabel,
              const SvgLine *lines, int n_lines, char *err) {
    int longest = 0, shares = 0;
    for (int i = 0; i < n_lines; i++) {
        int n = (int)strlen(lines[i].name);
        shares |= lines[i].share;
        longest = n > longest ? n : longest;
    }
    double right = WIDTH - 30 - (shares ? 30 : 0) - (n_lines > 1 ? 30 + 6.5 * longest : 0);
    double legend = right + (shares ? 44 : 14); /* a line's place in it */
    Axis x, y;
    FileOut *out = file_begin(path, err);
    if (!out) return -1;
    FILE *f = file_stream(out);
    find_range(lines, n_lines, &x, &y);
    put_frame(f, title, ylabel, &y, right);
    put_x_axis(f, xlabel, &x, right);
    if (shares) put_share_axis(f, right);
    for (int i = 0; i < n_lines; i++) {
        double at = TOP + 8 + 20 * i;
        put_curve(f, &lines[i], &x, lines[i].share ? &share_axis : &y, right, colors[i % 8]);
        if (n_lines == 1) continue;
        put_line(f, legend, at, legend + 20, at, colors[i % 8], 3);
        put_label(f, legend + 26, at + 4, "start", lines[i].name, strlen(lines[i].name));
    }
    return close_svg(out, err);
}

/* A name below its bar, its words on as many lines as `width` bytes ask for. */
static void put_name(FILE *f, double x, double y, const char *name, size_t width) {
    while (*name) {
        size_t n = strcspn(name, " "), next;
        while (name[n] == ' ' && (next = n + 1 + strcspn(name + n + 1, " ")) <= width) n = next;
        put_label(f, x, y, "middle", name, n);
        name += n;
        name += strspn(name, " ");
        y += 14;
    }
}

int svg_bars(const char *path, const char *title, const char *ylabel, const char *const *names,
             const double *values, int n, double ymax, char *err) {
    double lo = 0, hi = is_drawn(ymax) && ymax > 0 ? ymax : 0, right = WIDTH - 30;
    double slot = (right - LEFT) / (n > 0 ? n : 1);
    FileOut *out = file_begin(path, err);
    if (!out) return -1;
    FILE *f = file_stream(out);
    for (int i = 0; i < n; i++) {
        if (is_drawn(values[i]) && values[i] < lo) lo = values[i];
        if (is_drawn(values[i]) && values[i] > hi) hi = values[i];
    }
    Axis y = make_axis(lo, hi > lo ? hi : 1);
    put_frame(f, title, ylabel, &y, right);
    double zero = place(&y, 0, BOTTOM, TOP);
    for (int i = 0; i < n; i++) {
        double middle = LEFT + slot * (i + 0.5), v = is_drawn(values[i]) ? values[i] : 0;
        double end = place(&y, v, BOTTOM, TOP);
        put_name(f, middle, BOTTOM + 20, names[i], (size_t)(slot / 7));
        put_rect(f, middle - slot * 0.3, end < zero ? end : zero, slot * 0.6, fabs(end - zero));
        fprintf(f, " fill=\"%s\"/>\n<text text-anchor=\"middle\" x=\"", colors[0]);
        put_number(f, middle, 1);
        fputs("\" y=\"", f);
        put_number(f, (end < zero ? end : zero) - 5, 1);
        fputs("\">", f);
        if (is_drawn(values[i])) put_number(f, v, y.decimals + 1);
        else fputs("n/a", f);
        fputs("</text>\n", f);
    }
    return close_svg(out, err);
}

/* ==== a page: panels one below another ======================================================== */
/* All of it is one drawing, whose height is known at its end: until then its place in the file
 * stays free.  A weight is shown by how opaque its cell is, so one colour serves light and dark. */
#define PAGE 760                 /* width                                                     */
#define SIDE 170                 /* where heat maps begin; names of their rows stand before   */
#define HEIGHT_DIGITS 7

struct SvgPage { FileOut *out; FILE *f; int html; long height_at; double y; };

static const char page_style[] =
    "<style>svg{background:#FFFFFF;color:#222222;fill:currentColor}\n"
    ".w{fill:#0072B2}.l{stroke:currentColor;stroke-opacity:.35;fill:none}\n"
    "@media screen and (prefers-color-scheme:dark){svg,body{background:#181A1B;color:#DDDDDD}\n"
    ".w{fill:#56B4E9}}</style>\n";

SvgPage *page_begin(const char *path, const char *title, char *err) {
    SvgPage *p = calloc(1, sizeof *p);
    const char *end = strrchr(path, '.');
    if (!p) { snprintf(err, MAC_ERR, "%s: out of memory", path); return NULL; }
    p->out = file_begin(path, err);
    if (!p->out) { free(p); return NULL; }
    FILE *f = p->f = file_stream(p->out);
    p->html = end && (!strcmp(end, ".html") || !strcmp(end, ".htm"));
    if (p->html) {
        fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name="
              "\"viewport\" content=\"width=device-width\">\n<title>", f);
        put_text(f, title, strlen(title));
        fputs("</title>\n<style>body{max-width:52em;margin:auto;padding:1em;"
              "font:15px/1.5 sans-serif}\nfigure{margin:0;overflow-x:auto}\n"
              "svg{min-width:40em;width:100%}\n"
              "dt{font-weight:bold}dd{margin:0 0 .5em 1em}</style></head>\n<body><figure>\n", f);
    }
    fputs("<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" "
          "font-size=\"12\" role=\"img\" aria-label=\"", f);
    put_text(f, title, strlen(title));
    fprintf(f, "\" viewBox=\"0 0 %d ", PAGE);
    p->height_at = ftell(f);
    fprintf(f, "%*s\">\n%s", HEIGHT_DIGITS, "", page_style);
    return p;
}

static int utf8_cells(const char *s, size_t n) { /* characters */
    int cells = 0;
    for (size_t i = 0; i < n; i++) cells += ((unsigned char)s[i] & 0xC0) != 0x80;
    return cells;
}

/* The bytes of the first `cells` characters. */
static size_t utf8_first(const char *s, int cells) {
    size_t n = 0;
    while (s[n] && (((unsigned char)s[n] & 0xC0) == 0x80 || cells-- > 0)) n++;
    return n;
}

void page_say(SvgPage *p, const char *text, int size) {
    int most = (PAGE - 20) * 19 / 10 / size; /* characters of about half their height */
    fprintf(p->f, "<g font-size=\"%d\">\n", size);
    if (size > 12) p->y += size; /* a heading */
    while (*text) {
        size_t n = utf8_first(text, most), end = n;
        while (text[n] && end > 0 && text[end] != ' ') end--; /* between words, if there are any */
        if (end > 0) n = end;
        p->y += size * 1.5;
        put_label(p->f, 10, p->y, "start", text, n);
        text += n;
        text += strspn(text, " ");
    }
    fputs("</g>\n", p->f);
}

/* How opaque: a thousandth and less is invisible, as is no number. */
static double opacity(double share) {
    return is_drawn(share) && share > 0.001 ? log10(share * 1000) / 3 : 0;
}

static void put_weight(FILE *f, double x, double y, double wide, double high, double share) {
    put_rect(f, x, y, wide, high);
    fputs(" class=\"w\" fill-opacity=\"", f);
    put_number(f, opacity(share), 2);
    fputs("\"><title>", f);
    put_number(f, 100 * share, 1);
    fputs("%</title></rect>\n", f);
}

static void page_box(const SvgPage *p, double x, double y, double wide, double high) {
    put_rect(p->f, x, y, wide, high);
    fputs(" class=\"l\"/>\n", p->f);
}

void page_scale(SvgPage *p) {
    static const char *const text[] = {"0.1% or less", "1%", "10%", "100%"};
    static const double share[] = {0.001, 0.01, 0.1, 1};
    for (int i = 0; i < 4; i++) {
        double x = SIDE + 110 * i;
        put_weight(p->f, x, p->y + 6, 16, 12, share[i]);
        page_box(p, x, p->y + 6, 16, 12);
        put_label(p->f, x + 22, p->y + 16, "start", text[i], strlen(text[i]));
    }
    p->y += 20;
}

/* The names of columns, aslant above them; how high they are. */
static double heat_columns(const SvgPage *p, const SvgHeat *h) {
    int longest = 0;
    for (int i = 0; h->columns && i < h->n_columns; i++) {
        int n = h->columns[i] ? utf8_cells(h->columns[i], strlen(h->columns[i])) : 0;
        if (n > longest) longest = n;
    }
    double high = 8 + 5.0 * longest;
    for (int i = 0; h->columns && i < h->n_columns; i++) {
        if (!h->columns[i]) continue;
        fputs("<g font-size=\"10\" transform=\"translate(", p->f);
        put_number(p->f, SIDE + (i + 0.5) * h->wide + 2, 1);
        fputc(' ', p->f);
        put_number(p->f, p->y + high - 2, 1);
        fputs(") rotate(-55)\">", p->f);
        put_label(p->f, 0, 0, "start", h->columns[i], strlen(h->columns[i]));
        fputs("</g>\n", p->f);
    }
    return high;
}

void page_heat(SvgPage *p, const SvgHeat *h) {
    p->y += heat_columns(p, h);
    double wide = h->n_columns * h->wide, high = h->n_rows * h->high;
    for (int r = 0; r < h->n_rows; r++) {
        double y = p->y + r * h->high;
        if (h->rows && h->rows[r])
            put_label(p->f, SIDE - 6, y + h->high / 2 + 4, "end", h->rows[r],
                      utf8_first(h->rows[r], 24));
        for (int i = 0; i < h->n_columns; i++) {
            double share = h->share[r * h->n_columns + i];
            if (opacity(share) > 0)
                put_weight(p->f, SIDE + i * h->wide, y, h->wide, h->high, share);
        }
    }
    for (int i = 0; h->group && i < h->n_columns; i += h->group)
        page_box(p, SIDE + i * h->wide, p->y, h->group * h->wide, high);
    if (!h->group) page_box(p, SIDE, p->y, wide, high);
    p->y += high;
}

void page_bars(SvgPage *p, const char *const *names, const double *shares, int n, int columns) {
    double wide = (PAGE - SIDE - 10) / (double)columns;
    for (int i = 0; i < n * columns; i++) {
        double x = SIDE + i % columns * wide, y = p->y + i / columns * 18 + 4;
        put_rect(p->f, x, y, (wide - 70) * shares[i], 14);
        fputs(" class=\"w\" fill-opacity=\"0.4\"/>\n", p->f);
        put_label(p->f, x + 4, y + 11, "start", names[i], strlen(names[i]));
        fputs("<text text-anchor=\"end\" x=\"", p->f);
        put_number(p->f, x + wide - 14, 1);
        fputs("\" y=\"", p->f);
        put_number(p->f, y + 11, 1);
        fputs("\">", p->f);
        put_number(p->f, 100 * shares[i], 1);
        fputs("%</text>\n", p->f);
    }
    p->y += n * 18 + 4;
}

int page_end(SvgPage *p, const char *const (*words)[2], char *err) {
    fputs("</svg>\n", p->f);
    if (p->html) {
        fputs("</figure>\n<h2>Words</h2>\n<dl>\n", p->f);
        for (int i = 0; words && words[i][0]; i++)
            fprintf(p->f, "<dt>%s</dt><dd>%s</dd>\n", words[i][0], words[i][1]);
        fputs("</dl></body></html>\n", p->f);
    }
    int bad = fseek(p->f, p->height_at, SEEK_SET) != 0;
    fprintf(p->f, "%*d", HEIGHT_DIGITS, (int)p->y + 20);
    bad = file_end(p->out, bad ? "its height cannot be written" : NULL, err);
    free(p);
    return bad;
}
