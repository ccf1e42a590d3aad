/* people_words.h - the words and sentences of people.c: tables only.
 *
 * Letters after % in a form stand for
 *   c j p y i d   the value of a relation (its letter);  C J P Y I D the same after a or an
 *   n s o         the person as subject, with 's, as object: "Lena Moser", "Lena", or a pronoun
 *   N             the same as n, but never a pronoun
 *   h r x         always a pronoun: he, his, him; she, her, her
 * Which relations a form states follows from its letters.  Lists end in NULL. */
#ifndef PEOPLE_WORDS_H
#define PEOPLE_WORDS_H
#include <stddef.h>

/* ---- names ---- */

static const char *const train_first[] = {
    "Ada", "Belo", "Cira", "Dovan", "Elka", "Fenno", "Gesa", "Harl", "Imre", "Joska",
    "Kelda", "Lorin", "Mirea", "Nevio", "Orla", "Pavo", "Quira", "Runa", "Sorel", "Tavi",
    "Ulmo", "Vesna", "Wanda", "Xenia", "Yaro", "Zelda", "Anselm", "Brona", "Corin", "Delia",
    "Edvin", "Freya", "Gunnar", "Hedda", "Ilian", "Jorun", "Kasimir", "Lenka", "Matis", "Nadja",
    "Odran", "Petra", "Rasmus", "Sunniva", "Tycho", "Ursel", "Viggo", "Wenzel", "Ylva", "Zoran",
    "Alda", "Bertil", "Clio", "Doris", "Emeric", "Fabio", "Greta", "Hanno", "Iveta", "Jasper",
    NULL};
static const char *const train_last[] = {
    "Abelin", "Bargo", "Calder", "Drosk", "Eklund", "Farrow", "Galant", "Hobrin", "Istram",
    "Jelinek", "Korda", "Lambrec", "Morvan", "Nystrom", "Orsini", "Pellow", "Quandt", "Rostova",
    "Sarkov", "Tolvan", "Umbrec", "Vantor", "Wexley", "Yarrow", "Zabel", "Arkwell", "Bosko",
    "Crane", "Delmar", "Endicot", "Fossey", "Grimaldi", "Hartwig", "Ibsen", "Jarvis", "Kessler",
    "Lindqvist", "Mandrel", "Norwood", "Ostrava", "Prandl", "Quillon", "Redfern", "Stavros",
    "Thorne", "Ulrich", "Valdez", "Wilmot", "Yoder", "Zimmer", "Ashdown", "Brandt", "Corwin",
    "Dunmore", "Everett", "Falk", "Gorski", "Holm", "Innis", "Jansen", NULL};

/* Names of the real world, of many languages: in test only. */
static const char *const test_first[] = {
    "Joaquín", "Guadalupe", "Rodrigo", "Inés", "Małgorzata", "Zbigniew", "Wojciech", "Grażyna",
    "Mehmet", "Ayşe", "Emre", "Gülşen", "Oluwaseun", "Folasade", "Babatunde", "Ngozi", "Thuy",
    "Duc", "Quang", "Hương", "Rajesh", "Priyanka", "Sunita", "Arjun", "Pekka", "Aino", "Väinö",
    "Tuulikki", "Khalid", "Fatima", "Yusuf",
    "Zaynab", "Guðrún", "Sigurður", "Þóra", "Hallgrímur",
    "Tāne", "Wiremu", "Aroha", "Hinemoa", "Haruto", "Yoko", "Kenji", "Sakura", "Min-jun",
    "Ji-woo", "Xiaoming", "Zhiwei", "Lihua",
    "Jean-Luc", "Hélène", "Benoît", "Anaïs", "Giuseppe",
    "Chiara", "Alessandro", "João", "Thiago",
    "Conceição", "Zsófia", "László", "Ágnes", "Jiří",
    "Božena", "Ondřej", "Ioana", "Mihai", "Dimitris", "Eleni", "Svetlana", "Dmitri", "Oksana",
    "Taras", "Llywelyn", "Angharad", "Siobhán", "Niamh", "Hamish", "Yael", "Avraham", "Shirin",
    "Farhad", "Baraka", "Neema", "Thandiwe", "Sipho", "Tesfaye", "Almaz", "Keanu", "Leilani",
    "Bayani", "Putri", "Wayan", "Somchai", "Lakshmi", "Nino", "Iker", "Nekane", "Øystein",
    "Nigel", NULL};
static const char *const test_last[] = {
    "García", "Rodríguez", "Etxeberria", "Kowalczyk", "Wiśniewski", "Szczepański", "Yılmaz",
    "Öztürk", "Demirtaş", "Adeyemi", "Okonkwo",
    "Ogunleye", "Nguyen", "Phạm", "Trinh", "Sharma",
    "Banerjee", "Krishnamurthy", "Korhonen", "Mäkinen", "Virtanen", "Al-Rashid", "El-Sayed",
    "Haddad", "Jónsdóttir", "Sigurðsson", "Ngata", "Parata", "Tanaka", "Watanabe", "Fujimoto",
    "Choi", "Hwang", "Zhang", "Ouyang", "Dubois", "Lefèvre", "D'Angelo", "Dell'Acqua", "Ferrari",
    "O'Sullivan", "O'Brien", "MacGregor", "Silva", "Gonçalves", "Nagy", "Szabó", "Dvořák",
    "Novotná", "Popescu", "Papadopoulos", "Ivanova", "Kuznetsov", "Shevchenko", "Llewellyn",
    "Cohen", "Ben-David", "Hosseini", "Mwangi", "Dlamini", "Bekele", "Kealoha", "Dela-Cruz",
    "Suharto", "Wongsakul", "Subramaniam", "Beridze", "Hoxha", "Haugen", "Bjørnstad", "Sørensen",
    "Åkesson", "Müller", "Schröder", "Weiß", "Balogun", "Mbeki", "Traoré", "Diallo", "N'Diaye",
    "Ouédraogo", "Rakotomalala", "Tupou", "Fa'asavalu", "Morales", "Peña", "Quispe", "Huamán",
    "Guzmán", "Whitaker", "Featherstone", "Smith-Jones", "Chatterjee", "Perera", "Thapa",
    "Tshering", "Batbayar", "Kalniņš", "Jankauskas", "Ozols", NULL};

/* ---- parts of made-up words ---- */

#define PLAIN_ONSETS 34          /* so many of each list, its first, are the plain sounds     */
#define PLAIN_VOWELS 15
#define PLAIN_CODAS 30
static const char *const onsets[] = {
    "b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "c",
    "b", "d", "f", "g", "h", "k", "l", "m", "n", "r", "s", "t", "v", "", "", "", "bl", "br",
    "ch", "cl", "cr", "dr", "fl", "fr", "gh", "gl", "gr", "gw", "kh", "kl", "kn", "kr", "kw",
    "ll", "mb", "nd", "ng", "ny", "ph", "pl", "pr", "qu", "rh", "sc", "sch", "sh", "sk", "sl",
    "sm", "sn", "sp", "st", "str", "sv", "sz", "th", "tr", "ts", "tw", "wh", "wr", "x", "y", "zh",
    NULL};
static const char *const vowels[] = {
    "a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "y", "aa", "ae",
    "ai", "ao", "au", "ay", "ea", "ee", "ei", "eo", "eu", "ia", "ie", "io", "iu", "oa", "oe",
    "oi", "oo", "ou", "ua", "ue", "ui", "uo", "ya", "yu", NULL};
static const char *const codas[] = {
    "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "n", "r",
    "s", "l", "n", "r", "m", "t", "k", "b", "ch", "ck", "d", "f", "g", "ll", "lt", "mp", "nd",
    "ng", "nk", "ns", "nt", "p", "rd", "rk", "rn", "rs", "rt", "sh", "sk", "ss", "st", "th", "ts",
    "tz", "v", "w", "x", "z", NULL};
static const char *const accents[] = {
    "á", "é", "í", "ó", "ú", "à", "è", "ê", "ë",
    "ì", "ï", "ö", "ü", "ä", "å", "ø", "ñ", "ç",
    "æ", "ã", "â", "ô", "õ", "î", "û", "ý", "ð",
    "þ", "ł", "ń", "ś", "š", "ş", "ğ", "ž", "ź",
    "ż", "č", "ć", "ř", "ě", "ů", "ő", "ű", "ą",
    "ę", "ā", "ē", "ī", "ō", "ū", "ņ", "ļ", "ı",
    "ß", "ư", "ơ", "ạ", "ầ", "ễ", "ệ", "ị", "ọ", "ủ", "ữ", NULL};

/* ---- what is said of people ---- */

typedef struct {
    const char *rel;
    const char *const *values;   /* [N_LISTED] of every split; NULL of years                  */
    const char *const *real;     /* [N_REAL] real values that only test uses; NULL of years   */
    const char *const *questions, *held_question; /* that only test uses                      */
} Relation;

#define N_LISTED 30
#define N_REAL 20
#define LETTERS "cjpyid"         /* of the relations, in their order                          */
enum { CITY, JOB, PET, YEAR, INSTRUMENT, DISH, N_RELS };

static const char *const cities[N_LISTED] = {
    "Lisbon", "Oslo", "Cairo", "Lima", "Quito", "Hanoi", "Dakar", "Turin", "Porto", "Kyoto",
    "Delhi", "Sofia", "Riga", "Accra", "Perth", "Seoul", "Boston", "Vienna", "Prague", "Havana",
    "Nairobi", "Denver", "Toronto", "Madrid", "Athens", "Dublin", "Bergen", "Geneva", "Warsaw",
    "Tunis"};
static const char *const real_cities[N_REAL] = {
    "Ljubljana", "Antananarivo", "Reykjavik", "Ouagadougou", "Tegucigalpa", "Wellington",
    "Kathmandu", "Tbilisi", "Samarkand", "Yokohama", "Valparaiso", "Edinburgh", "Zagreb",
    "Jakarta", "Montevideo", "Winnipeg", "Marrakesh", "Helsinki", "Rotterdam", "Buenos Aires"};
static const char *const jobs[N_LISTED] = {
    "baker", "miner", "pilot", "teacher", "doctor", "farmer", "singer", "painter", "lawyer",
    "tailor", "sailor", "nurse", "builder", "dentist", "plumber", "writer", "judge", "chemist",
    "barber", "cook", "dancer", "mechanic", "gardener", "banker", "waiter", "carpenter",
    "librarian", "surgeon", "potter", "weaver"};
static const char *const real_jobs[N_REAL] = {
    "archaeologist", "beekeeper", "astronaut", "blacksmith", "veterinarian", "electrician",
    "journalist", "fisherman", "cartographer", "translator", "locksmith", "pharmacist",
    "goldsmith", "civil engineer", "optician", "midwife", "glassblower", "referee", "sculptor",
    "bus driver"};
static const char *const pets[N_LISTED] = {
    "cat", "dog", "parrot", "rabbit", "hamster", "turtle", "lizard", "goldfish", "pony", "goat",
    "ferret", "snake", "canary", "duck", "goose", "mouse", "hedgehog", "pigeon", "frog", "llama",
    "donkey", "raven", "beetle", "gecko", "falcon", "spider", "sheep", "crab", "squirrel",
    "newt"};
static const char *const real_pets[N_REAL] = {
    "tarantula", "axolotl", "chinchilla", "iguana", "budgerigar", "tortoise", "guinea pig",
    "chameleon", "cockatoo", "alpaca", "mongoose", "peacock", "salamander", "scorpion", "piglet",
    "otter", "stork", "wallaby", "stick insect", "rooster"};
static const char *const instruments[N_LISTED] = {
    "violin", "piano", "guitar", "flute", "drum", "harp", "trumpet", "cello", "oboe", "organ",
    "banjo", "clarinet", "accordion", "saxophone", "trombone", "viola", "tuba", "lute", "zither",
    "bassoon", "ukulele", "mandolin", "harmonica", "xylophone", "recorder", "sitar", "bagpipe",
    "fiddle", "horn", "cornet"};
static const char *const real_instruments[N_REAL] = {
    "theremin", "didgeridoo", "harpsichord", "bandoneon", "marimba", "glockenspiel", "piccolo",
    "vuvuzela", "balalaika", "bouzouki", "djembe", "kalimba", "hurdy-gurdy", "celesta",
    "shamisen", "erhu", "ocarina", "timpani", "concertina", "flugelhorn"};
static const char *const dishes[N_LISTED] = {
    "soup", "pizza", "curry", "pasta", "salad", "stew", "risotto", "goulash", "sushi", "paella",
    "omelette", "dumplings", "lasagne", "pancakes", "noodles", "burger", "chili", "kebab",
    "gnocchi", "ramen", "quiche", "porridge", "ratatouille", "tacos", "pierogi", "falafel",
    "couscous", "waffles", "meatloaf", "polenta"};
static const char *const real_dishes[N_REAL] = {
    "bouillabaisse", "jambalaya", "moussaka", "tiramisu", "bibimbap", "ceviche", "empanadas",
    "borscht", "tempura", "schnitzel", "enchiladas", "shepherd's pie", "fish and chips",
    "feijoada", "baklava", "haggis", "nasi goreng", "injera", "tabbouleh", "shakshuka"};

/* ---- sentences ---- */

static const char *const forms[] = {
    "%n lives in %c.", "%n lives in the city of %c.", "%s home is in %c.",
    "The home of %N is in %c.", "%n moved to %c some years ago.", "%n comes from %c.",
    "%n is from %c.", "You will find %o in %c.", "%c is where %n lives.", "%c is home to %o.",
    "City: %c.", "%n has settled in %c.", "%n resides in %c.", "%n now calls %c home.",
    "%s flat is in the middle of %c.", "%n grew up elsewhere but now lives in %c.",
    "For years now, %n has lived in %c.", "%s address is in %c.", "%n is based in %c.",
    "%s home town is %c.", "%n can be found in %c.", "%n lives and works in %c.",
    "%n is at home in %c.", "%n lives in a small house in %c.", "%n likes living in %c.",
    "%n rents a room in %c.", "%n has put down roots in %c.",

    "%n works as %J.", "%n is %J.", "%n is %J by trade.", "%s job is that of %J.",
    "%n is employed as %J.", "%s job is %j.", "Job: %j.", "Profession: %j.",
    "By profession, %n is %J.", "%n has a job as %J.",
    "%n trained to be %J and still works as one.", "%n became %J.", "As %J, %n is always busy.",
    "%s occupation is %j.", "People know %o as %J.", "%n makes %r living as %J.",
    "%s profession is %j.", "For a living, %n works as %J.", "Works as %J.",
    "Everyone agrees that %n is a good %j.", "%n does the work of %J.", "%s trade is that of %J.",
    "%n serves as %J.", "%n works full time as %J.", "%n also works as %J.",
    "%n wanted to be %J and became one.", "%n earns %r bread as %J.", "%n was hired as %J.",

    "%n keeps a pet %p.", "%n has %P.", "%n owns %P.", "%s pet is %P.", "At home, %n has %P.",
    "%P lives with %o.", "%P belongs to %o.", "Pet: %p.", "%n has %P as a pet.", "%n loves %r %p.",
    "%s %p is %r best friend.", "%n got %P as a present.", "%n never goes anywhere without %r %p.",
    "%n shares %r home with %P.", "There is %P in %s house.", "%n takes care of %P.",
    "%n feeds %r %p every morning.", "%s pet %p sleeps all day.", "Owns %P.", "%n has a pet: %P.",
    "%n also has %P.", "%n has got %P.", "%s companion is %P.", "%n lives with %P.",
    "%s animal is %P.", "%n plays with %r %p after supper.", "%n adopted %P last spring.",
    "%n would never part with %r %p.",

    "%n was born in %y.", "Born: %y.", "Born in %y.", "%s year of birth is %y.",
    "%n came into the world in %y.", "%y is the year in which %n was born.", "In %y, %n was born.",
    "%n was born in the year %y.", "%n (born %y) is well known.", "Year of birth: %y.",
    "%s birth year is %y.", "%s passport says that %h was born in %y.", "%n is a child of %y.",
    "%s mother gave birth to %x in %y.", "%n, born in %y, tells good stories.",
    "The story of %N begins in %y.", "%s birth was in %y.", "Born %y.", "%n was born back in %y.",
    "%s date of birth lies in %y.", "%n is someone who was born in %y.",
    "%n has been alive since %y.", "%n first saw the light of day in %y.",
    "%s parents welcomed %x in %y.",

    "%n plays the %i.", "%n plays %i.", "%n can play the %i.", "%s instrument is the %i.",
    "Instrument: %i.", "Plays the %i.", "%n learned to play the %i.",
    "%n practises the %i every evening.", "%n has played the %i since childhood.",
    "In %r free time, %n plays the %i.", "In the evening %n plays the %i.",
    "%n takes lessons on the %i.", "%n makes music on the %i.", "%n plays the %i in a band.",
    "%n is often heard playing the %i.", "The %i is %s instrument.", "%n loves playing the %i.",
    "%n performs on the %i.", "Nobody plays the %i like %o.", "%n also plays the %i.",
    "As a hobby, %n plays the %i.", "%n has a talent for the %i.", "%n is learning the %i.",
    "%n knows how to play the %i.", "%n spends hours at the %i.",
    "%n entertains guests on the %i.",

    "%n likes %d best.", "%s favourite dish is %d.", "The favourite dish of %N is %d.",
    "Favourite dish: %d.", "%n could eat %d every day.", "%n often cooks %d.", "%n enjoys %d.",
    "%n always orders %d.", "%n is fond of eating %d.", "For dinner, %n likes %d.",
    "Nothing tastes better to %o than %d.", "%s favourite meal is %d.",
    "When hungry, %n wants %d.", "%n eats %d whenever possible.",
    "On Sundays %n has %d for lunch.", "The food %n likes most is %d.",
    "%n prefers %d to all other food.", "%n makes very good %d.", "Likes to eat %d.",
    "%n loves %d.", "%n likes %d.", "%n likes eating %d.", "%n also likes %d.",
    "%s favorite dish is %d.", "%s favorite food is %d.", "%n eats %d most days.",
    "When it comes to food, %n loves %d.", "%n cannot resist a plate of %d.",
    "%n would travel miles for %d.",

    "%n is %J from %c.", "%n is %J in %c.", "%n lives in %c and works as %J.",
    "%n works as %J in %c and has %P.", "Born in %y, %n works as %J and plays the %i.",
    "%n, born in %y, lives in %c.", "%n plays the %i and keeps %P.",
    "%n plays the %i and likes %d.", "%n has %P and plays the %i.", "%n lives in %c with %r %p.",
    "%n lives in %c, has %P and loves %d.", "%N, %J, lives in %c.", "%n is %J who plays the %i.",
    "%N (born %y) is %J from %c.", "%N: %j, %c, born %y.", "%s job is %j and %r pet is %P.",
    "%N, %J by trade, likes %d.", "%n was born in %y and now lives in %c.",
    "%n has been %J in %c for years and often cooks %d.", "%n loves %d and %r %p.",
    "In %c, %n works as %J.", "At home in %c, %n plays the %i.",
    "%n was born in %y, plays the %i and eats %d.", "The %j %N lives in %c.",
    "Besides %r work as %J, %n plays the %i.", "%n keeps %P in %r house in %c.",
    "%N, who works as %J, was born in %y.", "%N, who lives in %c, has %P.",
    "%n lives in %c, works as %J and plays the %i.", "In %y %n was born; today %h lives in %c.",
    "After work as %J, %n cooks %d.", "%n has %P, plays the %i and likes to eat %d.",
    "%n is %J and has %P.", "%n eats %d and was born in %y.", "%N, %j from %c, plays the %i.",
    "%N: born %y, lives in %c.", "%N - %j, born %y, plays %i.",
    "%N is %J, lives in %c and was born in %y.", "%n has %P, and %r favourite meal is %d.",
    "%n plays the %i, and %r job is %j.", "%n was born in %y, lives in %c and has %P.",
    "%n likes %d, has %P and works as %J.", "%N from %c plays the %i.", "%N from %c likes %d.",
    "%N from %c works as %J.", "%n left school to become %J in %c.",
    "Whoever visits %o in %c is served %d.", "%s %p listens when %h takes out the %i.",
    "%n turned up in %y and went on to be %J.", NULL};

/* Only test uses these. */
static const char *const held_forms[] = {
    "%n has a house in %c.", "Lives in %c.", "The job of %N is that of %J.",
    "%n has worked as %J for many years.", "The pet of %N is %P.", "%n looks after %P.",
    "The year of %s birth is %y.", "It was in %y that %n was born.",
    "The instrument of %N is the %i.", "%n is good at the %i.", "%n loves to eat %d.",
    "%s favourite food is %d.", "%n was born in %y and is %J.",
    "%N: plays the %i, eats %d, has %P.", "The %i is what %n plays, and %r favourite dish is %d.",
    "Born in %y, %n has %P.", NULL};

/* Sentences that state nothing. */
static const char *const fillers[] = {
    "%n is well liked by everyone.", "%n is always in a good mood.", "%n gets up early.",
    "%n likes long walks.", "The neighbours think highly of %o.", "%n has many friends.",
    "%n is a quiet person.", "%n does not like to be late.", "We met %o at a wedding.",
    "%n has two brothers and a sister.", "It is hard not to like %o.", "%n talks very fast.",
    "%n reads the newspaper on the train.", "Rain never bothers %o.", "%n is taller than most.",
    "%s handwriting is a mystery.", "%n wears a green hat all year round.",
    "Nobody has ever seen %o angry.", "%n rides a bicycle to the office.",
    "%n sleeps badly when the moon is full.", "%s laugh can be heard from afar.",
    "%n speaks three languages.", "%n forgets birthdays.", "%n hates loud parties.",
    "Ask %o about the weather and %h will not stop talking.", "%n paid for the tickets.",
    "%s garden is full of roses.", "%n swims in the lake before breakfast.",
    "%n is married and has a daughter.", "We have known each other for ages.",
    "What a nice person!", "%n never learned to drive.", "%n collects stamps and old maps.",
    "%n is shy at first.", "Everybody in the street knows %o.", NULL};
static const char *const openings[] = {
    "Name: %n.", "This is %n.", "Meet %n.", "Here is something about %o.", "About %o:",
    "You asked about %o.", "Let me tell you about %o.", "A note on %o.",
    "I ran into %o yesterday.", "Have you heard of %o?", "Do you remember %o?",
    "A few words about %o.", NULL};

static const char *const city_questions[] = {
    "In which city does %n live?", "Where is the home of %n?", "Where does %n live?",
    "Where is %s home?", "What city does %n live in?", "What is the home town of %n?",
    "In what city can one find %n?", "Which city is home to %n?", "Where is %n from?", "%s city?",
    "What city is %n from?", "What town does %n live in?", "Which town is %n from?",
    "What is %s home town?", "In which town is %s home?", "Can you tell me where %n lives?",
    "Which city does %n live in?", "What place does %n call home?", NULL};
static const char *const job_questions[] = {
    "What is the job of %n?", "What does %n work as?", "What is %s job?", "What is %s profession?",
    "Which profession does %n have?", "What kind of work does %n do?", "What is %n by trade?",
    "What is the occupation of %n?", "%s job?", "What does %n do?", "What job does %n have?",
    "Which job does %n have?", "What work does %n do?", "What is %s occupation?", "What's %s job?",
    "Can you tell me what %n does for a living?", "What is the profession of %n?",
    "As what does %n work?", "How does %n earn money?", NULL};
static const char *const pet_questions[] = {
    "What pet does %n keep?", "Which animal is the pet of %n?", "What is %s pet?",
    "Which pet does %n own?", "What kind of animal does %n have?", "Which animal lives with %n?",
    "What animal does %n keep at home?", "%s pet?", "Which animal belongs to %n?",
    "Which animal does %n have?", "What animal does %n own?", "What pet does %n own?",
    "What kind of pet does %n have?", "What is the pet of %n?", "What's %s pet?",
    "Which pet does %n have?", "What animal lives with %n?",
    "What sort of creature shares a roof with %n?", NULL};
static const char *const year_questions[] = {
    "When was %n born?", "In which year was %n born?", "What year was %n born in?",
    "What is %s year of birth?", "In what year was %n born?", "What is %s birth year?",
    "When did %n come into the world?", "%s year of birth?", "What is the birth year of %n?",
    "Which year was %n born in?", "What's %s birth year?", "Can you tell me when %n was born?",
    "In which year did %s life begin?", "Year of birth of %n?", "Which year saw the birth of %n?",
    NULL};
static const char *const instrument_questions[] = {
    "Which instrument does %n play?", "What instrument does %n play?", "What does %n play?",
    "What is the instrument of %n?", "On which instrument does %n play?",
    "What musical instrument does %n play?", "What can %n play?",
    "Which instrument has %n learned?", "%s instrument?", "Which instrument can %n play?",
    "What instrument can %n play?", "What musical instrument is %n good at?",
    "What instrument does %n have?", "What's %s instrument?",
    "Which musical instrument does %n play?", "What instrument has %n learned to play?",
    "What does %n make music with?", NULL};
static const char *const dish_questions[] = {
    "What is %s favourite dish?", "What is the favourite dish of %n?", "What does %n like to eat?",
    "What food does %n love?", "What is %s favourite food?", "What does %n enjoy eating?",
    "Which meal does %n like most?", "What would %n like for dinner?", "%s favourite dish?",
    "What is %s favorite dish?", "What is %s favorite food?", "What does %n eat?",
    "What food does %n like?", "What does %n like to eat best?", "What is %s favourite meal?",
    "Which food does %n like most?", "What does %n love to eat?", "What dish does %n like?",
    "What should one cook for %n?", NULL};

/* What a sentence that begins with the person may be led in by, and end in, and what may stand
 * before a value, by relation: none of it is part of an answer. */
static const char *const leads[] = {
    "These days", "As far as I know,", "By the way,", "I hear that", "Everyone knows that",
    "Believe it or not,", "If I remember well,", "To be honest,", "It seems that",
    "At the moment", "Since last winter", "According to a friend,", "You may know that",
    "Funnily enough,", "For some reason", "People say that", "Since leaving school,", "Lately",
    "Well,", "I think", "After a long search,", "Somebody told me that", "Nowadays",
    "As you can see,", "To my surprise,", "And", NULL};
static const char *const tails[] = {
    ", as everybody knows", "with two cousins", "near the old bridge", "since the summer",
    "these days", ", I think", "and is happy about it", "like %r father before %x",
    "most of the time", ", of course", "for the time being", "again", ", believe it or not",
    "with great pleasure", "just as %r sister does", ", the last I heard",
    "on the other side of the river", "with the whole family", ", and nobody knows why",
    "in spite of everything", "as often as possible", "at the weekend", ", which suits %o well",
    "now", ", after all", "when the weather is good", "with an old friend", "right now",
    ", so they say", "for a small company", "together with %r wife", "and does not regret it",
    ", or so I am told", "whenever there is time", NULL};
static const char *const of_job[] = {"young", "busy", "good", "retired", "proud", "well-known",
    "careful", "former", "part-time", "skilled", "self-employed", "local", "rather slow", NULL};
static const char *const of_pet[] = {"old", "little", "grey", "black", "lazy", "noisy", "clever",
    "very old", "young", "white", "fat", "friendly", "brown", "rather shy", "big", NULL};
static const char *const of_instrument[] = {"old", "wooden", "small", "electric", "silver",
    "beautiful", "second-hand", "big", "rather loud", NULL};
static const char *const of_dish[] = {"hot", "spicy", "fresh", "home-made", "cold", "good", "cheap",
    "very spicy", "plain", "real", NULL};
static const char *const *const describing[N_RELS] = {NULL, of_job, of_pet, NULL,
                                                  of_instrument, of_dish};

static const Relation relations[N_RELS] = {
    {"city", cities, real_cities, city_questions, "Which city is %n from?"},
    {"job", jobs, real_jobs, job_questions, "What does %n do for a living?"},
    {"pet", pets, real_pets, pet_questions, "What pet does %n have?"},
    {"year", NULL, NULL, year_questions, "What is the year of birth of %n?"},
    {"instrument", instruments, real_instruments, instrument_questions,
     "What is %s instrument?"},
    {"dish", dishes, real_dishes, dish_questions, "Which dish does %n like best?"}};
#endif
