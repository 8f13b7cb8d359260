/** The words of look-ups in one language; how they decide is in `look-up.ts`. */
interface Language {
  /** How a look-up begins: alternatives of a pattern for folded text. */
  readonly asks: readonly string[];
  /** Words after which the answer may depend on every part. */
  readonly whole: readonly string[];
  /** Fixed expressions with such a word that name one thing: a first name, a company's registered name. */
  readonly names: string;
}

/** What stands in code: its name is unique. */
const code =
  '[`"«„“][^`"»”]{0,80}[`"»”]?|§|\\p{L}+-\\d+|[\\p{L}\\p{N}]*[_\\d$@#/:][\\p{L}\\p{N}_$@#/:.-]*|[\\p{L}\\p{N}_-]+[.][\\p{L}\\p{N}]+|--?\\p{L}';
/** At most so many words of a noun before its last one. */
const words = (most: number) => `(?:[\\p{L}\\p{N}'.-]+ ){0,${most}}`;

/** Measures of one thing. */
export const physical =
  "limite?|size|length|duration|age|speed|load|capacity|weight|power|pressure|voltage|width|height|depth|altitude|" +
  "taille|longueur|duree|vitesse|charge|capacite|poids|puissance|pression|tension|largeur|hauteur|profondeur|" +
  "tamano|longitud|duracion|edad|velocidad|carga|capacidad|peso|potencia|presion|anchura|altura|profundidad|aforo|" +
  "dimensione|lunghezza|durata|eta|velocita|carico|capacita|portata|potenza|pressione|tensione|larghezza|altezza|capienza|" +
  "große|lange|dauer|alter|geschwindigkeit|last|kapazitat|gewicht|leistung|druck|spannung|breite|hohe|tiefe|" +
  "traglast|nutzlast|zuladung|version|deposit|stay|order value|bestellwert|einlage|strafe|file|upload|attachment|password|passwort|group|notice|aufenthalt|stromaufnahme|leistungsaufnahme|fichier|archivo|depot|deposito|contrasena|password|tamanho|comprimento|duracao|idade|velocidade|capacidade|grootte|lengte|duur|leeftijd|snelheid|gewicht";
/** A value of one thing without an interrogative: `port of the proxy`, `invoice 17 due date`. */
const terse = (value: string, before = 0) =>
  `(?!(?:${asking})(?!\\p{L}))(?!.*(?<!\\p{L})(?:${many})(?!\\p{L}))(?:(?!(?:this|that|the|an?|my|your|our) )[\\p{L}\\p{N}'.-]+ ){0,${before}}(?:${value})(?: (?:${of}) ?(?:[\\p{L}\\p{N}'.-]+ )?[\\p{L}\\p{N}'.-]+| [\\p{L}\\p{N}.-]+(?: [\\p{L}-]*\\d+| \\p{L}+)?)?(?: \\p{L}+ \\d+)?(?<![sx]|d(?:er|ie) \\p{L}+(?:e[nr]?|n))$`;
const of = "of|for|on|d[eiou]s?(?: la)?|del(?:la|lo)?|dell'|d'|der|des|im|am|von|vom|fur|zum";
const many =
  "dei|degli|delle|de l[ao]s|list|table|log|trend|history|changes?|increases?|growth|taux|rate|tasso|tasa|entwicklung|haufigkeit";
const asking =
  "review|write|translate|rewrite|change|fix|check|explain|describe|summari\\p{L}*|give|show|find|extract|create|add|set|update|improve|compare|count|sort|" +
  "who|when|where|how|why|which|what|name|list|wer|wann|wo|wie|was|warum|welche[rsmn]?|quell?e?s?|qui|quand|ou|combien|comment|pourquoi|une?|" +
  "que|quien|cuando|donde|cual|cuant[oa]s?|como|chi|quando|dove|quale?|quant[oaie]|come|che|cosa|does|do|did|is|are|was|were|has|have|hat|haben|ist|sind|[eè]|es|est";

/** A thing has one of them. */
const office =
  "(?:bank|court|notary|authority|insurer|gericht|behorde|versicherung|banque|tribunal|notaire|assurance|banco|juzgado|notaria|aseguradora|banca|tribunale|assicurazione)";

const english: Language = (() => {
  const the = `(?:(?:the|this|its|his|her|their|your|our|my)(?!\\p{L})|(?:mr|mrs|ms|dr)\\.? \\p{L}+|\\p{L}+ \\d[\\p{L}\\d]*|${words(3)}[\\p{L}-]+'s?|${code})`;
  const value =
    "port|version|licen[cs]e|(?:e-?mail |ip )?address|number|id|title|date|deadline|time|price|fee|rate|rent|deposit|currency|colou?r|" +
    `${physical}|temperature|format|encoding|language|protocol|password|username|database|code|value|default|type|unit|` +
    "browser|framework|operating system|algorithm|standard|dose|brand|material|term|period|limit|name|amount|environment variable|parameter|margin";
  const place =
    "file|folder|directory|module|class|package|page|line|section|chapter|room|hall|floor|building|street|city|town|country|bank|year|day|department|court|host|url";
  const adjective =
    "high|long|large|big|old|wide|tall|heavy|deep|thick|fast|far|expensive|strong|hot|small|short|much|soon|often|close";
  const units =
    "(?:\\p{L}+ )?(?:days?'?|weeks?'?|months?'?|years?'?|hours?'?|minutes|seconds|milliseconds|seats|beds|(?:d|fl)oors|storeys|wheels|gears|pages|cylinders|watts|volts|litres|liters|kilos|kilograms|grams|metres|meters|kilometres|kilometers|miles|degrees|bytes|characters|tokens|lifts|elevators|bedrooms|bathrooms|windows|parking spaces|cores|slots|lanes|strings|lessons|credits|rooms)(?: (?:of |paid |unpaid )?\\p{L}+(?: \\p{L}+)?)??";
  const state = "have|has|hold|allow|provide|last|require|include|need|offer|grant|cover|give|seat|weigh|carry|take";
  return {
    asks: [
      `(?:what|which)(?:'s| is) ${the}`,
      terse(`(?!number of|value|default|name (?!of)|type|amount)(?:${value})`, 3),
      `(?:what|which) ${office} [\\p{L}]+s `,
      `when do ${the} .{1,40} (?:start|begin|end|open|close|expire)$|(?:when|where) ${the} .{1,40} (?:ends?|starts?|expires?|begins?|is)$|what ${the} .{1,40} is$`,
      "where (?:do|should|must|can) (?:i|we|you|one) |where (?:should|must|can) (?:the|this) |whom? (?:do|should|must|can) (?:i|we|you) (?:contact|call|ask|write|inform|notify|pay|speak)",
      `what was the ${words(2)}(?:${value})`,
      `(?:what|which) (?:[\\p{L}-]+ )?(?:${value})(?: of [\\p{L}\\p{N}.-]+)? (?:is|does|must|may|can|should|has|will|do (?:i|you|we)|[\\p{L}]+s)`,
      `(?:what|which) (?:currency|colou?r|format|unit|language|encoding|material) are ${the}`,
      `what (?:year|day|month) (?:is|was) ${the}`,
      `(?:what|which) (?:${place}) (?:is|does) ${the} .{1,60} (?:in|on|at|from|under)$`,
      `(?:what|which) (?:${value}) ${the} [\\p{L}\\p{N} ]+`,
      `(?:in|on|at|from|under|to|by|for|until|with|through|into|after|before) (?:what|which) (?:[\\p{L}-]+ )?(?:${value}|${place}) (?:is|was|must|does|may|can|should|will) (?:${the}|an? )`,
      `(?:for |after )?how (?:${adjective}) (?:is|may|can|must|should) (?:${the}|an?)`,
      `how much does (?:${the}|an?) .{1,80} (?:cost|weigh)`,
      `who signed the (?:[\\p{L}-]+ )?(?:contract|lease|letter|deed|agreement|will|report|form|policy)`,
      `how (?:much|long) does ${the} .{1,80} (?:cost|weigh|hold|last|run|apply)`,
      `(?:for |after |within )?how many ${units} (?:does|is) (?:${the}|an?) .{0,80}\\b(?:${state}|allowed|valid|used|\\p{L}+ed)`,
      `(?:for |after |within )?how many ${units} (?:may|must|should|can|does) (?:${the}|an?) [\\p{L}\\p{N}]`,
      `(?:for |after |within )?how many [\\p{L}-]+(?: of [\\p{L} -]{1,40})? (?:may|must|should) `,
      `how many [\\p{L}-]+(?: of [\\p{L} -]{1,40})? does ${the} .{0,40}\\b(?:allow|permit|support|provide for)`,
      `(?:for |after |within )?how many [\\p{L}-]+(?: of [\\p{L} -]{1,40})? can ${the} .{0,40}\\b(?:hold|seat|carry|take|have|define|read|accommodate)`,
      `who is ${the}`,
      "who is (?:responsible|liable|named|listed|registered|entered|in charge)",
      `who (?:owns|chairs|heads|runs|manages|holds|represents|leads|directs|insures|publishes|maintains|wrote|drafted|designed|founded|authored|invented) ${the}`,
      `(?:to whom|who) (?:is|was) ${the} .{1,80} (?:addressed|assigned|registered|made out)`,
      `(?:until |till |since |by |from )?when (?:is|does|must|may|can|should|will) (?:${the}|an?) `,
      `(?:until |till |since |by |from )?when was ${the} (?!.*\\b(?:down|offline|late|absent|out|off|closed for|unavailable|unreachable)\\b)`,
      `when did ${the} .{1,80}\\b(?:begin|start|end|expire|open|close|force|effect|place|die)`,
      `where(?:'s| is| was) ${the}`,
      `where does ${the} .{1,60} (?:live|work|place|begin|end|stand|meet|stop)`,
      `what does (?:the |an? )?(?!.*\\b(?:author|writer|speaker|narrator|poet|s?he)\\b).{1,80} (?:mean|stand for|return|default to|cost|weigh|measure)`,
      `what does (?:the [\\p{L}]+ )?(?:${code}).{0,80} (?:do|say|print|contain|hold|require|set)`,
      `(?:give me|find|look up|state|quote|name|show me|tell me) ${the} ${words(2)}(?:${value}|iban|bic)`,
    ],
    whole: [
      "all|every\\p{L}*|each|any\\p{L}*|both|whole|entire(?:ly)?|several|many|most(?:ly)?|some\\p{L}*|two|throughout|across|overall|in general|generally|various",
      "winners?|losers?|leader|runner-up|champion|favou?rite|odd one|more|less|fewer|fewest|least|best|worst|than|rank\\p{L}*|top|bottom|record|peak|" +
        "(?!test|request|interest|rest|guest|west|forest|harvest|contest|digest|manifest|chest|nest|quest|protest|arrest)\\p{L}{2,}est",
      "first|second|third|fourth|fifth|last(?!$)|next|previous|final|earliest|latest|before|after|following|order of|sequence|initially|eventually",
      "total|totals|sum|altogether|combined|average|(?<=the )mean|median|typical(?:ly)?|usual(?:ly)?|percentage|proportion|share of|ratio|(?<=the )number of|count|how often|how many|times|frequency|score|gap|balance|profit|loss(?:es)?|error rate|success rate|turnout|turnover|revenue|spend\\p{L}*|spent|expenditure|sold|distribution",
      "why|because|reasons?|causes?|motives?|explanation|led to|origin",
      "not|\\p{L}+n't|never|no(?!\\.? ?\\d)|no(?:ne|body)|without|neither|still|yet|missing|lack\\p{L}*|unpaid|outstanding|overdue|pending|duplicates?|wrong|unclear|vague|ambiguous|unfair|inconsistent|incomplete|weak|unused|unsigned|unanswered|free|left|alone",
      "differ\\p{L}*|compar\\p{L}*|versus|contrast|contradict\\p{L}*|similar\\p{L}*|relation(?:ship)?|discrepanc\\p{L}*",
      "consensus|tenor|turning point|evidence|that|who|whose|main|central|key (?:points?|ideas?|messages?|takeaways?|findings?|arguments?)|themes?|topics?|subject matter|messages? of|gist|essence|tone|mood|atmosphere|style|plot|moral|lesson|attitude|opinions?|views?|stance|position on|feelings?|impression|reactions?|response of|outcomes?|results?|consequences?|effects?|impact|influence|conclusions?|purpose|problems?|issues?|challenges?|risks?|strengths?|weakness\\p{L}*|pros|advantages?|disadvantages?|patterns?|trends?|development|evolution|changed?|increase|decrease|growth|situation|story|summar\\p{L}*|overview|outline|argument|text about|document about|report about|about",
      "twice|repeat\\p{L}*|recur\\p{L}*|keeps|at the (?:end|start|beginning)|mention\\p{L}*|appear\\p{L}*|occur\\p{L}*|list of|names of|how",
    ],
    names:
      "(?:max\\p{L}*|min\\p{L}*) number of|sum insured|final deadline|contact about|(?:first|last|second|middle) names?|last (?:\\p{L}+ )?digits|last day (?:of|for|to)|(?:first|second) (?:floor|violin|aid|officer|mate|tenant|driver|instal\\p{L}*|edition|line of)|before tax|at (?:the )?(?:most|least|latest|earliest)|by default|message ['\"“]",
  };
})();

const german: Language = (() => {
  const the = `(?:(?:der|die|das|dem|den|des|diese[rsmn]?|ihre?[rsmn]?|seine?[rsmn]?|unsere?[rsmn]?|meine?[rsmn]?|frau|herrn?)(?!\\p{L})|${code})`;
  const value =
    "port|version|lizenz|\\p{L}*adresse|\\p{L}*nummer|\\p{L}*datum|\\p{L}*frist|uhrzeit|\\p{L}*preis|gebuhr|\\p{L}*miete|kaution|wahrung|farbe|große|lange|hohe|breite|tiefe|temperatur|spannung|" +
    "\\p{L}*format|kodierung|sprache|\\p{L}*protokoll|\\p{L}*passwort|\\p{L}*kennwort|benutzername|datenbank|\\p{L}*code|\\p{L}*wert|typ|einheit|betriebssystem|norm|dosis|marke|\\p{L}*betrag|iban|bic|\\p{L}*name|aktenzeichen|kennzeichen|postleitzahl|browser|durchwahl|anschrift|\\p{L}*satz|umgebungsvariable|laufzeit|dauer|\\p{L}*jahr|\\p{L}*summe";
  const place =
    "datei|klasse|methode|funktion|ordner|verzeichnis|modul|paket|seite|zeile|abschnitt|kapitel|paragraph\\p{L}*|raum|saal|\\p{L}*zimmer|etage|stock(?:werk)?|gebaude|straße|stadt|ort|land|bank|jahr|abteilung|schublade|fach|gericht|halle|haus";
  const adjective =
    "hoch|lang|lange|groß|alt|breit|schwer|tief|dick|schnell|weit|teuer|stark|heiß|klein|kurz|viel|lautet|heißt";
  const units =
    "(?:\\p{L}*(?:tage?|wochen|monate|jahre|stunden|minuten|sekunden)|(?:sitz)?platze|betten|turen|stockwerke|aufzuge|fenster|badezimmer|schlafzimmer|stellplatze|kerne|fahrspuren|monatsmieten|rader|gange|seiten|zylinder|watt|volt|liter|kilo(?:gramm|meter)?|gramm|meter|grad|zeichen|bytes?|zimmer)(?: \\p{L}+)??";
  return {
    asks: [
      `was ist ${the}`,
      terse(value),
      `welche[rsmn]? ${office} (?!hat)\\p{L}+t `,
      "wie oft (?:muss|soll|darf) |wohin (?:muss|soll|geht|wird) |an wen (?:muss|kann|soll|wende) |(?:bis |ab )?wann .{1,60} (?:zu \\p{L}+en|\\p{L}+zu\\p{L}+en) ist$|wan lauft ",
      `wann (?:beginnen|enden|starten|offnen|schließen) ${the}`,
      `wer ${the} .{1,40} ist$|wie (?:hoch|lang|alt|groß) ${the} .{1,60} ist$`,
      `(?:was|wie hoch|wie lang|wie groß) war (?:der|die|das) ${words(2)}(?:${value})`,
      `wie (?:${adjective}) (?:ist |darf |muss |kann |betragt )?(?:${the}|eine?)`,
      `wie ist (?:der|die|das) ${words(1)}(?:${value})`,
      `(?:was|wie ?viel) (?:kostet|betragt|wiegt) (?:${the}|eine?)`,
      `um (?:wie ?viel|welche) uhr `,
      `wer hat (?:den|die|das) (?:\\p{L}*vertrag|\\p{L}*brief|urkunde|\\p{L}*bericht|formular|vollmacht|bescheid) (?:unterschrieben|unterzeichnet|verfasst|ausgestellt)`,
      `wie lange (?:ist|gilt|lauft|dauert|darf|muss|betragt) ${the}`,
      `welche[rsmn]? (?:[\\p{L}-]+ )?(?:${value}) (?:von .{1,40} |des .{1,40} |der .{1,40} )?(?:ist|hat|gilt|wird|muss|darf|soll|braucht|verwendet|benutzt|nutzt|tragt|steht|benotigt|besitzt|gehort|verlangt|fuhrt)`,
      `(?:in|im|auf|an|am|unter|bei|von|zu|mit|aus|uber|bis zu|ab|nach|vor|fur) welche[rsmn]? (?:[\\p{L}-]+ )?(?:${value}|${place}) (?!(?:waren?|sind|haben|hatten?|gab|gibt|fiel|kam|ging|stieg|sank|hat|wurden|werden)(?!\\p{L}))\\p{L}+ ${the}`,
      `(?:in|auf|an|unter|bei|mit|bis zu|ab|nach|vor) welche[rsmn]? (?:tag|datum|termin|uhrzeit|zeitpunkt) (?:ist|wird|wurde|muss|soll|darf|endet|beginnt|findet|lauft) `,
      `wie ?viele ${units} (?:betragt|hat(?!.* (?:ge|\\p{L}+ge)?\\p{L}+(?:[^s]t|en)$)|umfasst|gilt|dauert|sieht|gewahrt|verlangt|fordert|bietet|fasst|darf|muss|ist|lauft|wiegt|schreibt) ${the}`,
      `wie ?viele \\p{L}+ (?:erlaubt|gestattet|gewahrt|unterstutzt) ${the}`,
      `wie ?viele \\p{L}+ (?:durfen|mussen|sollen|fasst|darf|muss) `,
      `wer ist (?:${the}|als|fur)`,
      "wer ist \\p{L}*(?:eigentumer|partner|besitzer|mieter|inhaber|leiter|beauftragte?r?|halter|notar|anwalt)(?:in)?(?: (?:fur|von|des|der) .*)?$",
      `wer (?:leitet|besitzt|vertritt|fuhrt|haftet|tragt|verwaltet|verfasste|entwarf|grundete|steht als)`,
      `wem gehort ${the}|an wen ist ${the}`,
      `(?:bis |ab |seit )?wann (?:ist|wird|wurde|muss|darf|soll|kann|endet|beginnt|lauft|tritt|gilt|offnet|schließt|findet|verfallt|erlischt|startet) (?:${the}|man|ich|eine?) `,
      `(?:bis|ab|seit) wann (?:gilt|ist|muss|darf|kann|lauft|sind .{1,80} zu|sind .{1,80}zu\\p{L}+en$)`,
      `wo (?:ist|steht|liegt|befindet sich|findet|wohnt|wird|wurde|hangt|beginnt|endet) ${the}`,
      `wo (?:ist|wird) (?:\\p{L}+ )?(?:${code})`,
      `was (?:bedeutet|heißt|bewirkt|liefert|macht) (?:(?:der|die|das) )?(?:\\p{L}*(?:code|fehler|meldung|option|abkurzung|kurzel|begriff|funktion)\\p{L}* )?(?:${code}|\\p{L}+[?]?$)`,
      `(?:nenne?|gib|sag|zeig|such|finde)(?: mir| uns)? (?:den|die|das) ${words(2)}(?:${value})`,
    ],
    whole: [
      "alle[nrsm]?|jede[nrsm]?|samtliche\\p{L}*|beide[nrsm]?|zwei|mehrere\\p{L}*|einige\\p{L}*|manche\\p{L}*|irgend\\p{L}*|viele[nrsm]?|wenige\\p{L}*|ganze[nrsm]?|uberall|allgemein\\p{L}*|generell|verschieden\\p{L}*",
      "sieger\\p{L}*|gewinner\\p{L}*|verlierer\\p{L}*|favorit\\p{L}*|mehr|weniger|am|meist\\p{L}*|beste[nrsm]?|spitzen\\p{L}*|rekord\\p{L}*|hochst(?:stand|wert)|tiefst\\p{L}*|hohepunkt|rang\\p{L}*|\\p{L}+er als|" +
        "(?!\\p{L}*(?:liste|kosten|kuste|kiste|kasten|posten|gaste|dienste?|fenster|muster|minister|meister|cluster|register|leiste|lasten|leisten|westen|osten|fristen|kloster|raster|semester|schwester|texter|master|kanister|roster)\\p{L}{0,2}(?!\\p{L}))\\p{L}+(?:s|ß|z)te[nrsm]?",
      "erste[nrsm]?|zweite[nrsm]?|dritte[nrsm]?|vierte[nrsm]?|letzte[nrsm]?|letztlich|zuerst|zuletzt|vorher\\p{L}*|nach(?:dem|her)|bevor|danach|anschließend|reihenfolge|spater|fruher",
      "summe(?! ?versich)|gesamt(?!gewicht|schuld)\\p{L}*|insgesamt|zusammen|\\p{L}*durchschnitt\\p{L}*|mittelwert|mittlere[nrsm]?|median|schnitt|anteil|prozent\\p{L}*|anzahl|\\p{L}*zahl (?:der|von|aller)|haufig\\p{L}*|oft|\\p{L}*quote|bilanz|saldo|gewinn\\p{L}*|verlust\\p{L}*|abstand|\\p{L}*umsatz\\p{L}*|verbrauch\\p{L}*|ausgaben|ausgegeben|verteilung|mal",
      "grund|grunde|ursache\\p{L}*|anlass|warum|weshalb|wieso|auslose\\p{L}*|motiv\\p{L}*|dazu",
      "nicht|kein\\p{L}*|nie|niemand|ohne|noch|fehl(?:t|en|ende\\p{L}*)|offene?[nrs]?|unbezahlt\\p{L}*|ausstehend\\p{L}*|doppelt\\p{L}*|falsch\\p{L}*|unklar\\p{L}*|gegen",
      "differenz\\p{L}*|unterschied\\p{L}*|unterscheid\\p{L}*|vergleich\\p{L}*|widers\\p{L}*|gemeinsam\\p{L}*|verhaltnis|beziehung\\p{L}*",
      "tenor|faden|wendepunkt|beleg\\p{L}*|(?<=, )(?:der|die|das|den|dem|dessen|deren)|\\p{L}*thema|themen|haupt(?:punkt|aussage|problem|these|argument|figur|grund|ziel)\\p{L}*|hauptsachlich|kern(?:aussage|punkt|frage|these|botschaft|idee)\\p{L}*|wichtig\\p{L}*|botschaft|ton|stimmung|stil|handlung|moral|haltung|meinung\\p{L}*|ansicht\\p{L}*|eindruck|reaktion\\p{L}*|ergebnis\\p{L}*|folgen?|auswirkung\\p{L}*|einfluss|fazit|zweck|ziele?|problem\\p{L}*|risik\\p{L}*|starken?|schwachen?|vorteil\\p{L}*|nachteil\\p{L}*|muster|trend\\p{L}*|entwick\\p{L}*|verander\\p{L}*|geander\\p{L}*|anstieg|ruckgang|wachstum|lage|geschichte|uberblick|zusammenfass\\p{L}*|worum|inhalt|tendenz",
      "wiederhol\\p{L}*|zweimal|handelt|die rede|am (?:ende|anfang)|erwahn\\p{L}*|genannt\\p{L}*|vorkomm\\p{L}*|vor(?=\\P{L}*$)|auftauch\\p{L}*|wie (?:viele|oft)",
    ],
    names:
      "max\\p{L}* (?:teilnehmer)?(?:zahl|anzahl)|min\\p{L}* (?:teilnehmer)?(?:zahl|anzahl)|(?:erste|zweite|dritte|letzte)[rn]? (?:vorname|nachname|vorsitzende|geiger|stock|fahrer|mieter)\\p{L}*|am (?:\\d+|\\p{L}+tag|telefon|gerat)|wie oft (?=muss|soll|darf)|sieht .{1,60} vor|schreibt .{1,60} vor",
  };
})();

const french: Language = (() => {
  const the = `(?:le |la |les |l'|ce |cet |cette |son |sa |notre |votre |mon |ma |leur |m\\. |mme |(?:${code}))`;
  const value =
    "navigateur|port|version|licence|adresse|numero|date|heure|delai|prix|tarif|loyer|montant|devise|couleur|taille|duree|longueur|hauteur|largeur|profondeur|poids|vitesse|temperature|tension|pression|format|encodage|langue|protocole|mot de passe|identifiant|base de donnees|code|valeur|type|unite|norme|dose|marque|nom|taux|iban|systeme d'exploitation|age|reference|caution|preavis";
  const place =
    "fichier|classe|methode|tiroir|dossier|repertoire|module|paquet|page|ligne|section|chapitre|article|salle|piece|etage|batiment|rue|ville|pays|banque|annee|jour|service|tribunal|commune|region|compte|lieu|endroit";
  const units =
    "(?:jours?|semaines|mois|ans|annees|heures|minutes|secondes|places?|sieges|fauteuils|cylindres|ascenseurs|chambres|fenetres|coeurs|voies|lits|portes|etages|roues|vitesses|pages|watts|volts|litres|kilos|grammes|metres|kilometres|degres|octets|caracteres|pieces|chambres)(?: de? ?'?\\p{L}+)?";
  const state =
    "prevoit|a(?= l[ea] | l')|compte|dure|exige|comprend|accorde|offre|requiert|impose|faut-il|peut|doit|couvre|contient|pese|donne|autorise|mesure|demande|represente|equivaut";
  return {
    asks: [
      `(?:quel|quelle) est ${the}`,
      terse(`telephone|echeance|${value}`),
      `(?:quel|quelle) ${office} \\p{L}+[et] ${the}`,
      `(?:a quelle frequence|ou|a qui|quand) (?:faut-il|dois-je|doit-on|peut-on) `,
      `quand (?:commencent|debutent|finissent|ouvrent|ferment) ${the}`,
      `(?:quel|quelle) (?:etait|fut|a ete) ${the}${words(1)}(?:${value})`,
      `(?:quel|quelle) (?:${value})(?: (?:de|d'|du|des|en) ?[\\p{L}\\p{N}.]+)? (?!(?:ont|sont|etaient|a(?! l[ea] | l'))(?!\\p{L}))(?:\\p{L}+|faut-il|doit-on|utilise-t-\\p{L}+|a-t-\\p{L}+)`,
      `(?:a|dans|sur|en|sous|de|avant|apres|jusqu'a|depuis|des|pour|par|avec|chez|vers|aupres de) (?:quel|quelle) (?:${value}|${place}) (?!(?:ont|sont|etaient|y a-t-il|y a-t-on)(?!\\p{L}))`,
      "comment (?:s'appelle|se nomme|s'intitule) ",
      `combien (?:coute|pese|mesure|vaut) (?:${the}|une? )`,
      `quel age a ${the}`,
      `qui a (?:signe|redige) (?:le|la|l') ?(?:contrat|bail|lettre|acte|rapport|formulaire|testament|police)`,
      `que (?:fait|affiche|contient) (?:l'|la |le )?(?:\\p{L}+ )?(?:${code})`,
      `combien de temps (?:dure|est valable) ${the}`,
      `combien (?:de |d')${units} (?:${state})(?!\\p{L})`,
      `combien (?:de |d')${units} ${the}.{1,60} (?:${state}|a)(?:-t)?-(?:il|elle)(?! \\p{L}+(?:e|i|u|is|it)(?!\\p{L}))`,
      `combien (?:de |d')[\\p{L}-]+(?: [\\p{L}-]+)? (?:peut|peuvent|doivent|doit|faut-il|peut-on|doit-on) `,
      `combien (?:de |d')[\\p{L}-]+(?: [\\p{L}-]+)? ${the}.{1,60}(?:peut|doit|autorise-t|permet|prevoit|admet)-(?:il|elle)`,
      `qui est ${the}`,
      "qui est (?:responsable|charge|inscrit|designe)",
      `qui (?:dirige|possede|represente|preside|gere|detient|finance|assure) ${the}`,
      `a qui (?:est|appartient|s'adresse) ${the}`,
      `(?:jusqu'a |depuis |a partir de )?quand (?:expire|commence|debute|finit|se termine|prend|entre|faut-il|doit-on|a (?:ete|lieu)|est|sera|ouvre|ferme|doit) `,
      `(?:jusqu'a |depuis |a partir de )?quand ${the}.{1,80}(?:a-t-(?:il|elle) ete|est-(?:il|elle)|doit-(?:il|elle)|prend-(?:il|elle)|entre-t-(?:il|elle)|expire-t-(?:il|elle)|commence-t-(?:il|elle)|a-t-(?:il|elle) pris|sera-t-(?:il|elle)|finit-(?:il|elle)|se termine-t-(?:il|elle))`,
      `ou (?:est|se trouve|se situe|se tient|a lieu|habite|demeure|figure) `,
      `ou ${the}.{1,60}a-t-(?:il|elle) ete (?:signe|conclu|construit|enregistre|redige|fonde)`,
      `ou ${the}.{1,60}(?:se trouve|se situe|se tient|habite|est)-(?:t-)?(?:il|elle)`,
      `(?:que|qu'est-ce que) (?:signifie|veut dire|renvoie|designe|retourne) `,
      `(?:donne|donnez|indique|indiquez|dis|trouve|cherche)(?:-moi)? ${the}${words(1)}(?:${value})`,
    ],
    whole: [
      "tout|tous|toutes?|chaque|chacun\\p{L}*|plusieurs|deux|quelques|certain\\p{L}*|plupart|ensemble|partout|entier|entiere|globa\\p{L}*|en general|generalement|divers\\p{L}*",
      "vainqueurs?|gagnante?s?|perdante?s?|favorie?s?|mieux|plus|moins|meilleure?s?|pires?|davantage|record|pic|classement|sommet",
      "premiere?s?|seconde?s?|deuxiemes?|troisiemes?|derniere?s?|prochaine?s?|precedente?s?|suivante?s?|avant|apres|ensuite|ordre|debut du|finale?s?|d'abord|recente?s?",
      "total|totale|totaux|somme|cumule?e?s?|moyen(?:ne)?s?|mediane?|pourcentage|proportion|part des?|nombre d\\p{L}*|frequen\\p{L}*|souvent|fois|solde|ecart|benefices?|pertes?|taux d'(?:erreur|absence|echec)|chiffre d'affaires|depens\\p{L}*|consommation|recettes",
      "pourquoi|raison(?! sociale)|causes?|motifs?|origine|provoqu\\p{L}*|explication",
      "ne|n'\\p{L}+|pas|aucun\\p{L}*|jamais|sans|encore|manqu\\p{L}*|impaye\\p{L}*|libres?|doublon\\p{L}*|faux|fausses?|ambigu\\p{L}*|contre|absents?|obsoletes?",
      "differ\\p{L}*|compar\\p{L}*|contredi\\p{L}*|contradict\\p{L}*|ecart|rapport entre|lien|relation",
      "qui|que|dont|consensus|tonalite|tournant|preuves?|principa\\p{L}*|themes?|sujet|message|idee\\p{L}*|essentiel\\p{L}*|ton|ambiance|atmosphere|style|intrigue|morale|attitude|opinions?|avis|position|impression|reactions?|resultats?|consequences?|effets?|impact|influence|conclusions?|but|objectifs?|problemes?|risques?|forces?|faiblesses?|avantages?|inconvenients?|tendances?|evolu\\p{L}*|changement\\p{L}*|change|hausse|baisse|croissance|situation|histoire|resume\\p{L}*|apercu|propos|contenu|enjeu\\p{L}*",
      "parle\\p{L}*|repete\\p{L}*|question de|a la fin|au debut|mention\\p{L}*|apparai\\p{L}*|citee?s?|combien|liste",
    ],
    names:
      "nombre (?:max|min)\\p{L}*(?: de)?|(?:premier|deuxieme|second) (?:prenom|nom|etage|violon|ministre|conducteur|locataire)|sous-total|au (?:plus|moins|maximum|minimum)(?: tard| tot)?|est-ce que|pas de porte|mot de passe|frequence (?=faut-il|doit-on)",
  };
})();

const spanish: Language = (() => {
  const the = `(?:el |la |los |este |esta |su |nuestr[oa] |mi |(?:${code}))`;
  const value =
    "navegador|puerto|version|licencia|direccion|numero|fecha|hora|plazo|precio|tarifa|alquiler|importe|moneda|color|tamano|duracion|longitud|altura|peso|velocidad|temperatura|tension|presion|formato|codificacion|idioma|protocolo|contrasena|usuario|base de datos|codigo|valor|tipo|unidad|norma|dosis|marca|nombre|tasa|iban|sistema operativo|edad|referencia|fianza|matricula";
  const place =
    "archivo|clase|metodo|cajon|fichero|carpeta|directorio|modulo|paquete|pagina|linea|seccion|capitulo|articulo|sala|aula|piso|planta|edificio|calle|ciudad|pais|banco|ano|dia|departamento|juzgado|municipio|lugar|cuenta";
  const units =
    "(?:cilindros|ascensores|ventanas|dormitorios|banos|nucleos|carriles|butacas|dias|semanas|meses|anos|horas|minutos|segundos|plazas|asientos|camas|puertas|pisos|plantas|ruedas|marchas|paginas|vatios|voltios|litros|kilos|gramos|metros|kilometros|grados|bytes|caracteres|habitaciones)(?: de \\p{L}+(?: \\p{L}+)?)?";
  const state =
    "tiene|dura|exige|preve|concede|ofrece|requiere|establece|contempla|incluye|debe|puede|hay que|marca|fija|da|cubre|admite|pesa|permite|estipula|pide|corresponden";
  const did =
    "firmo|otorgo|publico|emitio|construyo|fundo|celebro|registro|aprobo|entrego|constituyo|inauguro|expidio|redacto|inscribio|compro|matriculo";
  return {
    asks: [
      `cual es ${the}`,
      terse(`telefono|vencimiento|${value}`),
      `que ${office} \\p{L}+[ae] ${the}`,
      "(?:cada cuanto|a?donde|con quien|a quien) (?:hay que|debo|se debe|tengo que) ",
      `cuando (?:empiezan|comienzan|terminan|acaban|abren|cierran) (?:${the}|las )`,
      `cual (?:era|fue) ${the}${words(1)}(?:${value})`,
      `(?:que|cual) (?:${value})(?: de [\\p{L}\\p{N}.]+)? (?!(?:son|han|estan|tuvo|hubo|fueron|se \\p{L}+o|\\p{L}+jo|\\p{L}{3,}[crstd]io)(?!\\p{L}))`,
      `(?:a|en|de|sobre|bajo|hasta|desde|antes de|a partir de|con|por|para|ante) que (?:${value}|${place}) (?!(?:son|han|estan|hubo|hay(?! que)|fueron|tuvo)(?!\\p{L}))`,
      "como se (?:llama|titula|denomina) ",
      `cuanto (?:cuesta|pesa|mide|vale|dura) (?:${the}|una? )`,
      `quien (?:firmo|redacto) (?:el|la) (?:contrato|carta|escritura|informe|formulario|poliza|testamento)`,
      `cuanto (?:es|tiempo dura) ${the}`,
      `cuant[oa]s ${units} (?:${state}) `,
      `cuant[oa]s \\p{L}+ (?:pueden?|deben?|caben|hay que|se permiten|admite|permite) `,
      `quien es ${the}`,
      "quien (?:figura|consta|es (?:responsable|titular))",
      `quien (?:dirige|preside|representa|gestiona|administra|posee|asegura) ${the}`,
      `de quien es ${the}|a quien (?:pertenece|va dirigid[oa]|corresponde) ${the}`,
      `(?:hasta |desde |a partir de )?cuando (?:vence|termina|empieza|comienza|entra|acaba|caduca|hay que|se debe|debe|abre|cierra|se celebra|es|sera|expira|vale|esta|tiene lugar|finaliza|nacio|fue \\p{L}+d[oa]) `,
      `cuando se (?:${did}) `,
      `donde (?:se (?:${did})|esta|se encuentra|queda|vive|se celebra|se imparte|se ubica|tiene|se define|se guarda|se encuentra definid[oa]|se declara) `,
      'que (?:significa|quiere decir|devuelve|designa|hace (?=[`"])) ?',
      `(?:dame|dime|indica|indicame|busca|encuentra) ${the}${words(1)}(?:${value})`,
    ],
    whole: [
      "tod[oa]s?|cada|algun\\p{L}*|varios|varias|ambos|ambas|dos|cualquier\\p{L}*|mayoria|conjunto|enter[oa]s?|global\\p{L}*|en general|generalmente|divers\\p{L}*",
      "ganador\\p{L}*|vencedor\\p{L}*|perdedor\\p{L}*|favorit[oa]|mas|menos|mayor(?:es)?|menor(?:es)?|mejor(?:es)?|peor(?:es)?|record|pico|clasificacion",
      "primer[oa]?s?|segund[oa]s?|tercer[oa]?s?|ultim[oa]s?|proxim[oa]s?|anterior\\p{L}*|siguientes?|antes|despues|orden|final|recientes?",
      "total|totales|suma|medi[oa]s?|promedio|mediana|porcentaje|proporcion|parte de l\\p{L}*|(?<!maximo de |minimo de )numero de (?!matricula|telefono|cuenta|serie|movil|fax|cliente|factura|pedido|registro|poliza|licencia|expediente|contrato|socio|bastidor|referencia|identificacion)\\p{L}*|cantidad de|frecuen\\p{L}*|veces|saldo|brecha|ganancias?|perdidas?|tasa de (?:error|fallo)\\p{L}*|facturacion|gast\\p{L}*|consumo|ventas|ingresos",
      "por que|razon(?:es)?(?! social)|causas?|motivos?|origen|debi\\p{L}*|provoc\\p{L}*|explicacion",
      "no(?!\\.? ?\\d)|ningun\\p{L}*|nadie|nunca|sin|todavia|aun|falta\\p{L}*|pendientes?|impagad\\p{L}*|libres?|duplicad\\p{L}*|contra|obsolet\\p{L}*",
      "diferen\\p{L}*|compar\\p{L}*|contradic\\p{L}*|relacion|vinculo|distint\\p{L}*",
      "(?<!hay |tiene )que|cuyo|consenso|punto de inflexion|pruebas|principa\\p{L}*|temas?|asunto|mensaje|ideas?|esencia\\p{L}*|tono|ambiente|estilo|trama|moraleja|actitud|opinion(?:es)?|postura|posicion|impresion|reaccion\\p{L}*|resultados?|consecuencias?|efectos?|impacto|influencia|conclusion\\p{L}*|proposito|objetivos?|problemas?|riesgos?|ventajas?|desventajas?|tendencias?|evolu\\p{L}*|cambi\\p{L}*|aumento|descenso|subida|bajada|crecimiento|situacion|historia|resum\\p{L}*|contenido|preocup\\p{L}*|queja\\p{L}*",
      "habla\\p{L}*|repit\\p{L}*|al (?:final|principio)|mencion\\p{L}*|aparec\\p{L}*|citad\\p{L}*|cuant[oa]s|lista",
    ],
    names:
      "numero (?:max|min)imo(?: de)?|(?:primer|segundo) (?:nombre|apellido|piso|violin|ministro|conductor|inquilino|plazo)|primera (?:planta|cuota)|como (?:maximo|minimo)|a mas tardar|al menos|hace falta|cambiar(?= el| la)|hay que hablar",
  };
})();

const italian: Language = (() => {
  const the = `(?:il |lo |la |l'|i |gli |questo |questa |su[oa] |nostr[oa] |(?:${code}))`;
  const value =
    "browser|porta|versione|licenza|indirizzo|numero|data|ora|orario|scadenza|termine|prezzo|tariffa|affitto|canone|importo|valuta|colore|dimensione|durata|lunghezza|altezza|peso|velocita|temperatura|tensione|pressione|formato|codifica|lingua|protocollo|password|utente|database|base di dati|codice|valore|tipo|unita|norma|dose|marca|nome|tasso|iban|sistema operativo|eta|riferimento|cauzione|targa";
  const place =
    "file|classe|metodo|cassetto|cartella|directory|modulo|pacchetto|pagina|riga|sezione|capitolo|articolo|sala|aula|stanza|piano|edificio|via|citta|paese|banca|anno|giorno|reparto|tribunale|comune|luogo|conto";
  const units =
    "(?:cilindri|ascensori|finestre|bagni|core|corsie|mensilita|poltrone|giorni|settimane|mesi|anni|ore|minuti|secondi|posti|letti|porte|piani|ruote|marce|pagine|watt|volt|litri|chili|grammi|metri|chilometri|gradi|byte|caratteri|camere)(?: (?:di|a) \\p{L}+(?: \\p{L}+)?)?";
  const state =
    "ha(?= il | lo | la | l')|dura|richiede|prevede|concede|offre|comprende|deve|puo|bisogna|occorre|copre|pesa|ammette|consente|impone|stabilisce|fissa|da|spettano|servono";
  return {
    asks: [
      `qual(?:e)? ?[e'] ?${the}`,
      terse(`telefono|${value}`),
      `(?:quale|che) ${office} (?!ha )\\p{L}+[ae] ${the}`,
      "(?:ogni quanto|dove|a chi|con chi) (?:va|vanno|bisogna|si deve|devo|occorre) ",
      `quando (?:iniziano|cominciano|finiscono|aprono|chiudono) ${the}`,
      `qual(?:e)? (?:era|fu|e stat[oa]) ${the}${words(1)}(?:${value})`,
      `(?:quale|che|qual) (?:${value})(?: di [\\p{L}\\p{N}.]+)? (?!(?:sono|hanno|avevano|erano|ha \\p{L}+[ts]o)(?!\\p{L}))`,
      `(?:a|in|su|da|di|sotto|entro|fino a|prima di|con|per|presso) (?:quale|che|qual) (?:${value}|${place}) (?!(?:sono|hanno|ci sono|erano|c'e)(?!\\p{L}))`,
      "come si (?:chiama|intitola) ",
      `quanto (?:costa|pesa|misura|vale|dura|e lung[oa]|e grande|e alt[oa]) (?:${the}|un |un'|una )`,
      `quanti anni ha (?:${the}|[\\p{L}]+$)`,
      `chi ha (?:firmato|redatto) (?:il|la|l') ?(?:contratto|lettera|atto|rapporto|modulo|polizza|testamento)`,
      `quanto (?:e|ammonta) ${the}`,
      `quant[ie] ${units} (?:${state})(?!\\p{L})`,
      `quant[ie] \\p{L}+ (?:consente|ammette|puo|deve|bisogna|si possono|si devono|possono) `,
      `chi e ${the}`,
      "chi (?:risulta|figura|e (?:responsabile|titolare|intestatari[oa]))",
      `chi (?:dirige|presiede|rappresenta|gestisce|amministra|possiede|assicura) ${the}`,
      `di chi e ${the}|a chi (?:appartiene|e (?:intestat|indirizzat|rivolt)[oa]) ${the}`,
      `(?:entro |fino a |da )?quando (?:scade|finisce|inizia|comincia|entra|termina|va |bisogna|si deve|deve|apre|chiude|si tiene|decorre|vale|e (?:stat[oa]|valid[oa]|previst[oa]|nat[oa])|si e tenut[oa]|parte) ?`,
      `dov(?:'e|e (?:si trova|si tiene|ha|abita|sta|e|si svolge|vive|si conserva)) `,
      `dove (?:si trova|si tiene|ha|abita|sta|e|si svolge|vive) `,
      "(?:che cosa|cosa|che) (?:significa|vuol dire|restituisce|indica) ",
      `(?:dammi|dimmi|indica|indicami|cerca|trova) ${the}${words(1)}(?:${value})`,
    ],
    whole: [
      "tutt[oaie]|ogni|ciascun\\p{L}*|alcun\\p{L}*|qualche|qualcuno|entramb[ie]|due|parecchi\\p{L}*|maggior|maggioranza|insieme|inter[oa]|complessiv\\p{L}*|in generale|generalmente|divers[eio]",
      "vincitor\\p{L}*|perdent[ei]|favorit[oa]|meglio|piu|meno|maggiore?|maggiori|minore?|minori|migliore?|migliori|peggiore?|peggiori|record|picco|classifica",
      "prim[oaie]|second[oaie]|terz[oaie]|ultim[oaie]|prossim[oaie]|precedent[ei]|successiv[oaie]|seguent[ei]|dopo|ordine|finale|recent[ei]",
      "totale|totali|somma|medi[oaie]|mediana|percentuale|proporzione|parte dei|numero (?:di (?!immatricolazione|telefono|conto|serie|cellulare|fax|matricola|protocollo|partita|polizza|targa|registro|pratica|cliente|fattura|ordine)\\p{L}+|dei|degli|delle)|quantita|frequen\\p{L}*|spesso|volte|saldo|divario|perdit[ae]|guadagn[oi]|tasso d.errore|fatturato|spes[oaie]|consum[oi]|incass\\p{L}*|vendite|ricavi",
      "perche|ragion[ei](?! sociale)|caus[ae]|motiv[oi]|origine|provoca\\p{L}*|spiegazione",
      "non|nessun\\p{L}*|mai|senza|ancora|manca\\p{L}*|insolut\\p{L}*|liber[oaie]|vuot[oaie]|doppi[oaie]?|contro|obsolet\\p{L}*|scadut[oaie]",
      "differ\\p{L}*|confront\\p{L}*|contraddi\\p{L}*|rapporto tra|relazione tra|legame",
      "che|cui|consenso|svolta|prove|principa\\p{L}*|tem[ai]|argoment[oi]|messaggio|ide[ae]|essenzia\\p{L}*|tono|atmosfera|stile|trama|morale|atteggiamento|opinion[ei]|posizione|impressione|reazion[ei]|risultat[oi]|conseguenz[ae]|effett[oi]|impatto|influenza|conclusion[ei]|scopo|obiettiv[oi]|problem[ai]|risch[io]\\p{L}*|vantagg\\p{L}*|svantagg\\p{L}*|tendenz[ae]|evolu\\p{L}*|cambi\\p{L}*|aumento|calo|crescita|situazione|storia|riass\\p{L}*|contenuto|lament\\p{L}*",
      "parla\\p{L}*|ripet\\p{L}*|alla fine|all'inizio|menzion\\p{L}*|compa(?:re|iono)|citat\\p{L}*|quant[ie]|elenc\\p{L}*",
    ],
    names:
      "numero (?:mass|min)imo(?: di)?|(?:primo|secondo) (?:nome|cognome|piano|violino|ministro|conducente|inquilino)|prima (?:rata|casa)|al massimo|almeno|al piu tardi|va cambiat[oa]|ogni quanto",
  };
})();

const portuguese: Language = {
  asks: [
    "qual e (?:o|a) ",
    "quem e (?:o|a) ",
    "quando (?:termina|comeca|vence|expira|foi assinad[oa]) ",
    "onde (?:fica|esta) ",
    "quanto custa ",
    "(?:o )?que significa ",
    "como se chama ",
  ],
  whole: [
    "tod[oa]s?|tudo|cada|algum\\p{L}*|ambos|ambas|dois|duas|varios|maioria|inteir[oa]|geral",
    "mais|menos|maior(?:es)?|menor(?:es)?|melhor(?:es)?|pior(?:es)?|primeir[oa]|segund[oa]|ultim[oa]|proxim[oa]|antes|depois|ordem",
    "total|soma|medi[oa]|percentagem|numero de (?!telefone|conta|serie)\\p{L}*|vezes|nao|nenhum\\p{L}*|nunca|sem|ainda|falta\\p{L}*",
    "porque|razao|causa|motivo|diferenc\\p{L}*|compar\\p{L}*|principa\\p{L}*|tema|assunto|ideia|tom|opiniao|resultado|problemas?|tendencia|resum\\p{L}*|mencion\\p{L}*|aparec\\p{L}*",
  ],
  names: "primeiro nome|segundo nome|no maximo|pelo menos",
};

const dutch: Language = {
  asks: [
    "wat is (?:de|het|zijn|haar|uw) ",
    "wie is (?:de|het) ",
    "wanneer (?:eindigt|begint|is|werd|moet|vervalt|gaat) (?:de|het) ",
    "waar (?:is|staat|ligt|bevindt zich) (?:de|het) ",
    "wat kost (?:de|het) ",
    "wat betekent ",
    "hoe (?:hoog|lang|groot|oud|zwaar|heet) (?:is |mag )?(?:de|het) ",
    "welke? (?:poort|versie|licentie|datum|taal) (?!zijn )",
  ],
  whole: [
    "alle[ns]?|elke?|ieder\\p{L}*|beide|twee|meerdere|enkele|veel|hele|algemeen",
    "meer|minder|meest\\p{L}*|minst\\p{L}*|beste|slechtste|\\p{L}{3,}ste|eerste|tweede|laatste|volgende|voor|na|volgorde",
    "totaal|totale|som|samen|gemiddelde?|percentage|aantal|vaak|keer|niet|geen|nooit|zonder|nog|ontbre\\p{L}*",
    "waarom|reden|oorzaak|verschil\\p{L}*|vergelijk\\p{L}*|hoofd\\p{L}*|thema|onderwerp|toon|mening|gevolg\\p{L}*|resultaat|problemen?|trend|samenvat\\p{L}*|genoemd|vermeld",
  ],
  names: "eerste verdieping|ten minste|ten hoogste|uiterlijk",
};

/** The first five are held to the bars of `test/orchestrator/reading/pick.test.ts`. */
export const languages: readonly Language[] = [english, german, french, spanish, italian, portuguese, dutch];
