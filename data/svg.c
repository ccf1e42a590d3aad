/* svg.c - line charts, bar charts and heat maps as SVG files that any browser shows.  The lines'
 * colours are those of Okabe and Ito, which colour-blind readers can tell apart. */
#include "data.h"
#include "file.h"
#include <math.h>
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

static void find_range(const SvgLine *lines, int n_lines, Axis *x, Axis *y) {
    double lo[2] = {LIMIT, LIMIT}, hi[2] = {-LIMIT, -LIMIT};
    for (int l = 0; l < n_lines; l++)
        for (int i = 0; i < lines[l].n; i++) {
            const double v[2] = {lines[l].x[i], lines[l].y[i]};
            for (int k = 0; k < 2 && is_drawn(v[0]) && is_drawn(v[1]); k++) {
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

static int close_svg(FileOut *out, char *err) {
    fputs("</svg>\n", file_stream(out));
    return file_end(out, NULL, err);
}

int svg_lines(const char *path, const char *title, const char *xlabel, const char *ylabel,
              const SvgLine *lines, int n_lines, char *err) {
    double right = n_lines > 1 ? WIDTH - 170 : WIDTH - 30;       /* the legend needs its place */
    Axis x, y;
    FileOut *out = file_begin(path, err);
    if (!out) return -1;
    FILE *f = file_stream(out);
    find_range(lines, n_lines, &x, &y);
    put_frame(f, title, ylabel, &y, right);
    put_x_axis(f, xlabel, &x, right);
    for (int i = 0; i < n_lines; i++) {
        double at = TOP + 8 + 20 * i;
        put_curve(f, &lines[i], &x, &y, right, colors[i % 8]);
        if (n_lines == 1) continue;
        put_line(f, right + 14, at, right + 34, at, colors[i % 8], 3);
        put_label(f, right + 40, at + 4, "start", lines[i].name, strlen(lines[i].name));
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
        fputs("<rect x=\"", f);
        put_number(f, middle - slot * 0.3, 1);
        fputs("\" y=\"", f);
        put_number(f, end < zero ? end : zero, 1);
        fputs("\" width=\"", f);
        put_number(f, slot * 0.6, 1);
        fputs("\" height=\"", f);
        put_number(f, end < zero ? zero - end : end - zero, 1);
        fprintf(f, "\" fill=\"%s\"/>\n<text text-anchor=\"middle\" x=\"", colors[0]);
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

/* White over green to dark blue for 0 to 1: darker is more, which needs no colour to be seen. */
static void put_shade(FILE *f, double share) {
    static const int stop[4][3] = {{255, 255, 255}, {161, 218, 180}, {34, 94, 168}, {8, 16, 60}};
    int i = share <= 0 ? 0 : share >= 1 ? 2 : (int)(share * 3);
    double t = share <= 0 ? 0 : share >= 1 ? 1 : share * 3 - i;
    fputs("rgb(", f);
    for (int k = 0; k < 3; k++) {
        put_number(f, stop[i][k] + t * (stop[i + 1][k] - stop[i][k]), 0);
        fputc(k < 2 ? ',' : ')', f);
    }
}

static void put_box(FILE *f, double x, double y, double width, double height, double share) {
    static const char *const names[4] = {"x", "y", "width", "height"};
    put_open(f, "rect", names, (const double[]){x, y, width, height});
    fputs(" fill=\"", f);
    put_shade(f, share);
    fputs("\" stroke=\"#BBBBBB\" stroke-width=\"0.5\"/>\n", f);
}

int svg_grid(const char *path, const char *title, const char *xlabel, const char *unit,
             const char *const *rows, int n_rows, const char *const *columns, int n_columns,
             const double *percent, char *err) {
    double right = WIDTH - 110, wide = (right - LEFT) / n_columns;
    double high = (double)(BOTTOM - TOP) / n_rows, tick = (BOTTOM - TOP) / 3.0;
    FileOut *out = file_begin(path, err);
    if (!out) return -1;
    FILE *f = file_stream(out);
    put_head(f, title);
    for (int i = 0; i < n_rows * n_columns; i++) {
        double v = is_drawn(percent[i]) && percent[i] > 0.1 ? log10(percent[i] * 10) / 3 : 0;
        put_box(f, LEFT + i % n_columns * wide, TOP + i / n_columns * high, wide, high, v);
    }
    for (int i = 0; i < n_rows; i++)
        put_label(f, LEFT - 8, TOP + (i + 0.5) * high + 4, "end", rows[i], strlen(rows[i]));
    for (int i = 0; i < n_columns; i++)
        put_name(f, LEFT + (i + 0.5) * wide, BOTTOM + 18, columns[i], 1);
    put_label(f, (LEFT + right) / 2, BOTTOM + 50, "middle", xlabel, strlen(xlabel));
    for (int i = 0; i < 30; i++) /* the legend, 0.1 at its foot */
        put_box(f, right + 20, BOTTOM - (i + 1) * tick / 10, 16, tick / 10, (i + 0.5) / 30);
    for (int i = 0; i < 4; i++) {
        static const char *const text[4] = {"0.1 or less", "1", "10", "100"};
        put_label(f, right + 42, BOTTOM - i * tick + 4, "start", text[i], strlen(text[i]));
    }
    put_label(f, right + 20, TOP - 12, "start", unit, strlen(unit));
    return close_svg(out, err);
}
