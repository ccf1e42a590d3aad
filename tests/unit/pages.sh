# pages.sh - do the pages still tell the truth about names?  Every link between pages must lead
# somewhere, and what stands in backticks must exist: files, functions, tests, options, targets of
# make.  Run it from the root.  Prints what is wrong; exit 1 when something is.
#
# What is checked of a word in backticks: x.c and the like, a file here of that name or path; dir/,
# a folder; --x, an option of train, run or a tool; make x, a target; x(), a function; and whatever
# has an underscore must be a word of the sources, outside of C's comments.  All else is prose.
dir=$(mktemp -d "${TMPDIR:-/tmp}/mac_pages.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
find . \( -name .git -o -path ./build -o -path ./out -o -path ./shared \) -prune -o -print |
    sed 's|^\./||' > "$dir/paths"

# Facts, a line each, by kind: p path, b file's name, w word, c call, o option, t target.
sed 's/^/p /' "$dir/paths" > "$dir/facts"
sed 's|.*/||; s/^/b /' "$dir/paths" >> "$dir/facts"
grep -hoE '^[a-z][a-z -]*:' Makefile tests/rules.mk | tr -d ':' | tr ' ' '\n' |
    sed 's/^/t /' >> "$dir/facts"
grep -E '\.[ch]$' "$dir/paths" | xargs awk '{ # C without comments
    while (open || /\/\*/) {
        if (open && !sub(/^.*\*\//, " ")) { $0 = ""; break }
        open = 0
        if (match($0, /\/\*/)) {
            print substr($0, 1, RSTART - 1)
            $0 = substr($0, RSTART + 2)
            open = 1
        }
    }
    print }' > "$dir/text"
grep -E '\.(py|sh|mk)$|Makefile$' "$dir/paths" | grep -v pages.sh | xargs cat >> "$dir/text"
tr -cs 'A-Za-z0-9_' '\n' < "$dir/text" | sort -u | sed 's/^/w /' >> "$dir/facts"
grep -oE '[A-Za-z_][A-Za-z0-9_]*\(' "$dir/text" | sort -u | sed 's/^/c /' >> "$dir/facts"
# Options: {"x" in train.c, FIELD(x among the sizes, --x elsewhere.
grep -oE '\{"[a-z][a-z_-]*"|FIELD\([A-Za-z_]+|--[A-Za-z][A-Za-z_-]*' "$dir/text" |
    sed 's/^{"//; s/"$//; s/FIELD(//; s/^--//' | sort -u | sed 's/^/o /' >> "$dir/facts"

grep '\.md$' "$dir/paths" | xargs awk -v facts="$dir/facts" '
function wrong(what) { failed++; print "pages.sh: " FILENAME ": " what }
function plain(path) { # without a/.. and ./
    while (sub(/[^\/.]+\/\.\.\//, "", path)) ;
    gsub(/\.\//, "", path)
    return path
}
function exists(name) {
    sub(/\/$/, "", name)
    return ("p " name) in fact || ("p " plain(here name)) in fact
}
function check(name,   first) {
    checks++
    first = name; sub(/ .*/, "", first)
    if (name ~ /^make [a-z]/) {
        split(name, word, " ")
        if (word[2] !~ /=/ && !(("t " word[2]) in fact)) wrong("there is no " name)
    } else if (first ~ /^--[A-Za-z]/) {
        sub(/^--/, "", first); sub(/=.*/, "", first)
        if (!(("o " first) in fact)) wrong("there is no option --" first)
    } else if (name ~ /^[A-Za-z_0-9]+\(\)$/) {
        if (!(("c " substr(name, 1, length(name) - 1)) in fact)) wrong("there is no function " name)
    } else if (name ~ /[ *]/ || name ~ /^out\// || name ~ /^FILE|^MODEL|^DIR/) {
    } else if (name ~ /\/$/) {
        if (!exists(name)) wrong("there is no folder " name)
    } else if (name ~ /[A-Za-z]\.(c|h|sh|py|md|mk|mjs|svg|txt)$/ ||
               name ~ /^[a-z_]+\.safetensors$/) {
        if (!exists(name) && !(("b " name) in fact)) wrong("there is no file " name)
    } else if (name ~ /^[A-Za-z0-9]*_[A-Za-z0-9_]*$/) {
        if (!(("w " name) in fact)) wrong("there is no " name)
    }
}
BEGIN { while ((getline line < facts) > 0) fact[line] = 1 }
FNR == 1 { here = FILENAME; sub(/[^\/]*$/, "", here); fenced = 0 }
/^```/ { fenced = !fenced }
fenced || /^    / { next }
/^#/ { # the anchor that readers make of a heading
    slug = tolower($0); sub(/^#+ */, "", slug); gsub(/[^a-z0-9_ -]/, "", slug); gsub(/ /, "-", slug)
    anchor[FILENAME "#" slug] = 1
}
{
    for (line = $0; match(line, /`[^`]+`/); line = substr(line, RSTART + RLENGTH))
        check(substr(line, RSTART + 1, RLENGTH - 2))
    for (line = $0; match(line, /\]\([^)]+\)/); line = substr(line, RSTART + RLENGTH)) {
        link = substr(line, RSTART + 2, RLENGTH - 3)
        if (link ~ /^https?:/) continue
        checks++
        file = link; sub(/#.*/, "", file)
        file = file == "" ? FILENAME : plain(here file)
        if (!(("p " file) in fact)) wrong("the link " link " leads nowhere")
        else if (link ~ /#/)
            wanted[FILENAME ": the link " link] = file substr(link, index(link, "#"))
    }
}
END {
    for (w in wanted)
        if (!(wanted[w] in anchor)) { failed++; print "pages.sh: " w ": no such heading" }
    printf "%-14s %7d checks, %d failed\n", "pages.sh", checks, failed
    exit failed > 0 || checks < 100
}'
