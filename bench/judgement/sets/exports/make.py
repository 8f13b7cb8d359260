"""Writes the exports in this folder and `../exports.dev.jsonl`. The answers are computed here, from the values before they
are written as an export, never by the program that is measured. Names, firms and numbers are invented."""

import csv, io, json, random
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

here = Path(__file__).parent
rng = random.Random(280057)
questions = []


def ask(table, question, answer, kind):
    if isinstance(answer, D):
        answer = float(answer)
    name = [f"exports/{t}" for t in table] if isinstance(table, list) else f"exports/{table}"
    questions.append({"id": f"ex{len(questions) + 1:03}", "table": name, "question": question, "answer": answer, "kind": kind})


def money(low, high):
    return D(rng.randint(int(low * 100), int(high * 100))) / 100


def de(value):  # 1.234,56
    return f"{value:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")


def best(counter, largest=True):
    """The first of a ranking; stops at a tie."""
    ranked = sorted(counter.items(), key=lambda item: item[1], reverse=largest)
    assert len(ranked) == 1 or ranked[0][1] != ranked[1][1], ranked[:2]
    return ranked[0][0]


def days(start, count):
    return sorted(start + timedelta(days=rng.randrange(364)) for _ in range(count))


def write(name, text, encoding="utf-8", newline="\n"):
    (here / name).write_bytes(text.replace("\n", newline).encode(encoding))


def cells(rows, delimiter=",", quoting=csv.QUOTE_MINIMAL):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerows(rows)
    return out.getvalue()


# 1. A German bank's export: Windows-1252, CRLF, seven lines before the header, two columns of one name.
payees = {
    "REWE SAGT DANKE": ("Lastschrift", -90, -8), "Stadtwerke Köln": ("Lastschrift", -140, -95), "Bäckerei Özdemir": ("Lastschrift", -14, -3),
    "Deutsche Bahn": ("Lastschrift", -160, -12), "Hausverwaltung Müller": ("Dauerauftrag", -870, -870), "Landhaus Möbel GmbH": ("Überweisung", -1890, -220),
    "Kranz & Partner": ("Gehalt/Rente", 2890, 3120), "Finanzamt Köln-Süd": ("Gutschrift", 120, 640), "Anna Weiß": ("Gutschrift", 15, 80),
}
giro = []
for day in days(date(2025, 1, 2), 236):
    who = rng.choices(list(payees), [40, 6, 30, 20, 6, 4, 6, 2, 10])[0]
    kind, low, high = payees[who]
    giro.append((day, who, kind, money(low, high)))
saldo = D("4211.07")
lines = []
for day, who, kind, amount in giro:
    saldo += amount
    lines.append([f"{day:%d.%m.%Y}", f"{day + timedelta(days=rng.choice([0, 0, 1])):%d.%m.%Y}", who, kind, f"Ref {rng.randrange(10**9):09}", de(saldo), "EUR", de(amount), "EUR"])
lines.reverse()
head = "Umsatzanzeige;Datei erstellt am: 03.01.2026 14:11\n\nIBAN;DE02 1203 0000 0000 2020 51\nKontoname;Girokonto\nKunde;Jürgen Groß\nZeitraum;01.01.2025 - 31.12.2025\nSaldo;" + de(saldo) + ";EUR\n\n"
write("umsaetze.csv", head + cells([["Buchung", "Wertstellungsdatum", "Auftraggeber/Empfänger", "Buchungstext", "Verwendungszweck", "Saldo", "Währung", "Betrag", "Währung"], *lines], ";"), "cp1252", "\r\n")
out = [g for g in giro if g[3] < 0]
ask("umsaetze.csv", "Wie viele Buchungen enthält die Liste?", len(giro), "count")
ask("umsaetze.csv", "Wie hoch ist die Summe aller Beträge im März 2025?", sum(g[3] for g in giro if g[0].month == 3), "sum by month")
ask("umsaetze.csv", "Wie viel Geld wurde im Jahr 2025 insgesamt an die Bäckerei Özdemir gezahlt? (positive Zahl in Euro)", -sum(g[3] for g in giro if g[1] == "Bäckerei Özdemir"), "sum with filter")
ask("umsaetze.csv", "Was war die höchste einzelne Gutschrift vom Finanzamt?", max(g[3] for g in giro if g[1].startswith("Finanz")), "extreme")
ask("umsaetze.csv", "Wie oft wurde bei REWE bezahlt?", sum(g[1].startswith("REWE") for g in giro), "count with filter")
ask("umsaetze.csv", "In welchem Monat 2025 waren die Ausgaben (negative Beträge) insgesamt am höchsten? Antworte im Format JJJJ-MM.", (lambda c: f"2025-{best(c, False):02}")({m: sum(g[3] for g in out if g[0].month == m) for m in range(1, 13)}), "group extreme")

# 2. A British bank: account lines before the header, pounds in cells, dates with month names, two columns of amounts.
uk, balance = [], D("1820.44")
for day in days(date(2025, 1, 2), 198):
    what, kind, low, high = rng.choices([("Tesco Stores", "Visa purchase", 4, 95), ("TfL Travel Charge", "Contactless", 2, 9), ("Octopus Energy", "Direct debit", 88, 131), ("Pret A Manger", "Contactless", 3, 14), ("Halden Ltd Salary", "Bank credit", 2710, 2890), ("J Okafor", "Transfer from", 20, 200), ("Rent Bramley Rd", "Standing order", 1150, 1150)], [40, 60, 10, 35, 8, 10, 9])[0]
    uk.append((day, what, kind, money(low, high), kind in ("Bank credit", "Transfer from")))
rows = []
for day, what, kind, amount, is_in in uk:
    balance += amount if is_in else -amount
    shown = f"£{amount:,.2f}"
    rows.append([f"{day:%d %b %Y}", kind, what, "" if is_in else shown, shown if is_in else "", f"{'-' if balance < 0 else ''}£{abs(balance):,.2f}"])
top = cells([["Account Name:", "FlexPlus ****41807"], ["Account Balance:", f"£{balance:,.2f}"], ["Available Balance: ", f"£{balance + 250:,.2f}"]], quoting=csv.QUOTE_ALL)
write("statement.csv", top + "\n" + cells([["Date", "Transaction type", "Description", "Paid out", "Paid in", "Balance"], *reversed(rows)], quoting=csv.QUOTE_ALL), "utf-8-sig", "\r\n")
ask("statement.csv", "How much was paid out in total in August 2025?", sum(a for d, _, _, a, i in uk if d.month == 8 and not i), "sum by month")
ask("statement.csv", "How many times did I travel with TfL?", sum(w.startswith("TfL") for _, w, *_ in uk), "count with filter")
ask("statement.csv", "What was the largest single payment to Octopus Energy?", max(a for _, w, _, a, _ in uk if w.startswith("Octopus")), "extreme")
ask("statement.csv", "How much salary was paid in over the whole year?", sum(a for _, w, _, a, _ in uk if "Salary" in w), "sum with filter")
ask("statement.csv", "What is the average amount of a Tesco purchase, to two decimals?", round(float(sum(a for _, w, _, a, _ in uk if w.startswith("Tesco")) / sum(w.startswith("Tesco") for _, w, *_ in uk)), 2), "average")

# 3. A shop: three currencies, line breaks and commas in quoted cells, a row of totals at the end; and its customers.
countries = {"DE": "EUR", "AT": "EUR", "US": "USD", "GB": "GBP"}
customers = [(1000 + n, f"{rng.choice(['Ada', 'Ben', 'Cleo', 'Dario', 'Enya', 'Finn', 'Gita', 'Hugo'])} {rng.choice(['Abel', 'Brandt', 'Castle', 'Dorn', 'Eriks', 'Fuchs'])}", rng.choices(list(countries), [5, 2, 4, 3])[0], rng.choice(["retail", "wholesale"])) for n in range(60)]
write("customers.csv", cells([["customer_id", "name", "country", "segment"], *customers]))
orders = []
for number, day in enumerate(days(date(2025, 1, 1), 340)):
    customer = rng.choice(customers)
    product, price = rng.choice([("Walnut board, large", 49.9), ("Linen apron", 34.0), ("Pepper mill", 61.5), ("Copper pan", 129.0), ("Knife block", 88.25)])
    orders.append((f"#{20100 + number}", datetime(day.year, day.month, day.day, rng.randrange(24), rng.randrange(60), rng.randrange(60)), customer, product, rng.choices([1, 2, 3, 6], [6, 3, 1, 1])[0], D(str(price)), rng.choices(["paid", "refunded", "pending"], [8, 1, 1])[0]))
rows = [[i, f"{at:%Y-%m-%d %H:%M:%S} +0100", c[0], f"{c[1]}\n{rng.randint(1, 90)} Mill Lane, Unit {rng.randint(1, 9)}", p, q, u, q * u, countries[c[2]], s] for i, at, c, p, q, u, s in orders]
rows.append(["Total", "", "", "", "", sum(o[4] for o in orders), "", sum(o[4] * o[5] for o in orders), "", ""])
write("shop_orders.csv", cells([["Name", "Created at", "Customer ID", "Shipping address", "Lineitem name", "Quantity", "Lineitem price", "Total", "Currency", "Financial Status"], *rows]))
ask("shop_orders.csv", "How many orders are there?", len(orders), "count")
ask("shop_orders.csv", "How many items were sold in all (sum of the quantities)?", sum(o[4] for o in orders), "sum without the totals row")
ask("shop_orders.csv", "What is the total turnover of paid orders in USD?", sum(o[4] * o[5] for o in orders if o[6] == "paid" and o[2][2] == "US"), "sum with filter")
ask("shop_orders.csv", "Which product was sold in the highest quantity?", best({p: sum(o[4] for o in orders if o[3] == p) for p in {o[3] for o in orders}}), "group extreme")
ask("shop_orders.csv", "What percentage of the orders was refunded, to one decimal?", round(100 * sum(o[6] == "refunded" for o in orders) / len(orders), 1), "ratio")
ask("shop_orders.csv", "How many different customers placed at least one order?", len({o[2][0] for o in orders}), "distinct")
ask(["shop_orders.csv", "customers.csv"], "How many orders came from wholesale customers?", sum(o[2][3] == "wholesale" for o in orders), "join")
ask(["shop_orders.csv", "customers.csv"], "What is the turnover in EUR of orders by customers in Austria (AT)?", sum(o[4] * o[5] for o in orders if o[2][2] == "AT"), "join")

# 4. A web server's log as CSV: quoted agents with commas, sizes missing.
agents = ["Mozilla/5.0 (X11; Linux x86_64, like Gecko)", "curl/8.5.0", "Googlebot/2.1 (+http://www.google.com/bot.html)"]
hits = []
at = datetime(2026, 1, 12)
for _ in range(900):
    at += timedelta(seconds=rng.randrange(1, 380))
    path = rng.choices(["/", "/login", "/api/cart", "/api/search", "/img/logo.png"], [5, 2, 4, 6, 7])[0]
    status = rng.choices([200, 304, 404, 500, 503], [80, 10, 6, 3, 1])[0]
    hits.append((at, f"10.0.{rng.randrange(4)}.{rng.randrange(30)}", rng.choice(["GET", "GET", "GET", "POST"]), path, status, None if status == 304 else rng.randrange(180, 90_000), rng.randrange(2, 900) + (1400 if status >= 500 else 0), rng.choices(agents, [6, 1, 2])[0]))
write("access_log.csv", cells([["timestamp", "client_ip", "method", "path", "status", "bytes", "duration_ms", "user_agent"], *[[f"{h[0]:%Y-%m-%dT%H:%M:%SZ}", *h[1:5], "-" if h[5] is None else h[5], h[6], h[7]] for h in hits]]))
ask("access_log.csv", "How many requests failed with a 5xx status?", sum(h[4] >= 500 for h in hits), "count with filter")
ask("access_log.csv", "How many bytes were sent in total?", sum(h[5] or 0 for h in hits), "sum")
ask("access_log.csv", "Which path has the highest average duration?", best({p: sum(h[6] for h in hits if h[3] == p) / sum(h[3] == p for h in hits) for p in {h[3] for h in hits}}), "group extreme")
ask("access_log.csv", "How many requests came from Googlebot?", sum("Googlebot" in h[7] for h in hits), "text match")
ask("access_log.csv", "How many distinct client IP addresses are there?", len({h[1] for h in hits}), "distinct")
ask("access_log.csv", "How many requests were made on 13 January 2026?", sum(h[0].date() == date(2026, 1, 13) for h in hits), "count by day")

# 5. A German time sheet from a spreadsheet: `sep=;`, a title, hours with a comma, empty lines, sums at the end.
sheet = []
for day in sorted(date(2025, 9, 1) + timedelta(days=n) for n in range(120) if (date(2025, 9, 1) + timedelta(days=n)).weekday() < 5):
    for who in ("Yılmaz", "Huber", "Nowak"):
        if rng.random() < 0.12:
            continue
        hours = D(rng.choice(["6.5", "7", "7.5", "7.75", "8", "8.25", "9.5"]))
        sheet.append((day, who, rng.choice(["Portal", "Wartung", "Schulung", "Migration"]), rng.choice(["08:00", "08:30", "07:45"]), hours, rng.choice(["ja", "nein", "nein"])))
rows = [[f"{d:%d.%m.%Y}", w, p, b, str(h).replace(".", ","), o] for d, w, p, b, h, o in sheet]
text = "sep=;\nStundenzettel Team Süd;;;;;\n;;;;;\n" + cells([["Datum", "Mitarbeiter", "Projekt", "Beginn", "Stunden", "Homeoffice"], *rows[:140], ["", "", "", "", "", ""], *rows[140:], ["", "", "", "", "", ""], ["Summe", "", "", "", de(sum(s[4] for s in sheet)), ""]], ";")
write("stunden.csv", text, "utf-8-sig", "\r\n")
ask("stunden.csv", "Wie viele Stunden wurden insgesamt gearbeitet?", sum(s[4] for s in sheet), "sum without the totals row")
ask("stunden.csv", "Wie viele Stunden hat Nowak im Oktober 2025 gearbeitet?", sum(s[4] for s in sheet if s[1] == "Nowak" and s[0].month == 10), "sum with filters")
ask("stunden.csv", "Für welches Projekt wurden die meisten Stunden gebucht?", best({p: sum(s[4] for s in sheet if s[2] == p) for p in {s[2] for s in sheet}}), "group extreme")
ask("stunden.csv", "An wie vielen Einträgen stand Huber im Homeoffice (ja)?", sum(s[1] == "Huber" and s[5] == "ja" for s in sheet), "count with filters")
ask("stunden.csv", "Wie viele Einträge haben mehr als 8 Stunden?", sum(s[4] > 8 for s in sheet), "count with filter")

# 6. A survey: American times, long questions as headers, free text with line breaks.
remarks = ["", "", "Staff was friendly.", "Too expensive, sorry!", "Waited 40 minutes.\nNever again.", 'They said "soon" twice', "Great service", "The app crashes"]
answers = [(datetime(2025, rng.randint(10, 12), rng.randint(1, 28), rng.randrange(24), rng.randrange(60), rng.randrange(60)), rng.choice(["18-24", "25-34", "35-49", "50+"]), rng.choices([1, 2, 3, 4, 5], [1, 2, 4, 6, 4])[0], rng.choice(["Yes", "Yes", "No", "Maybe"]), rng.choice(remarks)) for _ in range(163)]
write("survey.csv", cells([["Timestamp", "Age group", "How satisfied are you with our service? (1-5)", "Would you recommend us?", "Anything else?"], *[[f"{a[0].month}/{a[0].day}/{a[0].year} {a[0]:%H:%M:%S}", *a[1:]] for a in answers]]))
ask("survey.csv", "What is the average satisfaction, to two decimals?", round(sum(a[2] for a in answers) / len(answers), 2), "average")
ask("survey.csv", "How many people would recommend us?", sum(a[3] == "Yes" for a in answers), "count with filter")
ask("survey.csv", "Which age group is the least satisfied on average?", best({g: sum(a[2] for a in answers if a[1] == g) / sum(a[1] == g for a in answers) for g in {a[1] for a in answers}}, False), "group extreme")
ask("survey.csv", "How many answers came in December 2025?", sum(a[0].month == 12 for a in answers), "count by month")
ask("survey.csv", "How many people left the comment field empty?", sum(a[4] == "" for a in answers), "missing values")

# 7. Readings of a device: comment lines before the header, tabs, gaps written `n/a`.
readings, at = [], datetime(2026, 2, 1)
for _ in range(420):
    at += timedelta(minutes=30)
    for probe in ("cold store", "dock", "office"):
        base = {"cold store": -18, "dock": 4, "office": 21}[probe]
        readings.append((at, probe, None if rng.random() < 0.03 else round(base + rng.gauss(0, 2), 1), rng.randint(30, 80)))
write("probes.tsv", "# device: TH-220 serial 00418\n# exported: 2026-02-10 08:00\n" + cells([["time", "probe", "temp_C", "humidity_%"], *[[f"{r[0]:%Y-%m-%d %H:%M}", r[1], "n/a" if r[2] is None else r[2], r[3]] for r in readings]], "\t"))
warm = Counter(r[0].date() for r in readings if r[1] == "cold store" and r[2] is not None and r[2] > -15)
ask("probes.tsv", "What was the highest temperature in the cold store?", max(r[2] for r in readings if r[1] == "cold store" and r[2] is not None), "extreme")
ask("probes.tsv", "How many readings have no temperature?", sum(r[2] is None for r in readings), "missing values")
ask("probes.tsv", "What was the average humidity at the dock, to one decimal?", round(sum(r[3] for r in readings if r[1] == "dock") / sum(r[1] == "dock" for r in readings), 1), "average")
ask("probes.tsv", "How often was the cold store warmer than -15 degrees?", sum(warm.values()), "count with filter")

# 8. Events with objects inside, and identifiers beyond 53 bits.
events = []
users = [(9_007_199_254_740_993 + 2 * n, rng.choice(["DE", "FR", "BR"])) for n in range(40)]
at = datetime(2026, 1, 5)
for n in range(700):
    at += timedelta(seconds=rng.randrange(900))
    user = rng.choice(users)
    kind = rng.choices(["view", "cart", "purchase"], [7, 3, 2])[0]
    events.append((at, user, kind, money(5, 220) if kind == "purchase" else None, rng.choice(["ios", "android", "web"])))
write("events.jsonl", "".join(json.dumps({"ts": f"{e[0]:%Y-%m-%dT%H:%M:%SZ}", "event": e[2], "user": {"id": e[1][0], "country": e[1][1]}, "props": {"platform": e[4], **({} if e[3] is None else {"amount": float(e[3])})}}) + "\n" for e in events))
spent = Counter()
for e in events:
    if e[3] is not None:
        spent[e[1][0]] += e[3]
ask("events.jsonl", "How many purchases were made on iOS?", sum(e[2] == "purchase" and e[4] == "ios" for e in events), "count with filters")
ask("events.jsonl", "What is the sum of all purchase amounts?", sum(spent.values()), "sum")
ask("events.jsonl", "How many different users are there?", len({e[1][0] for e in events}), "distinct identifiers")
ask("events.jsonl", "Which user id spent the most?", str(best(spent)), "group extreme")
ask("events.jsonl", "From which country did most events come?", best(Counter(e[1][1] for e in events)), "group extreme")

# 9. A Chinese shop's sales: a title, yuan in cells, a row of sums.
sales = [(d, rng.choice(["朝阳店", "浦东店", "天河店"]), rng.choice(["绿茶", "咖啡", "蛋糕", "果汁"]), rng.randint(1, 40)) for d in days(date(2025, 1, 1), 260)]
price = {"绿茶": D("18.50"), "咖啡": D("32"), "蛋糕": D("45.80"), "果汁": D("22")}
total = sum(s[3] * price[s[2]] for s in sales)
write("销售.csv", "2025年销售明细,,,,,\n" + cells([["日期", "门店", "商品", "数量", "单价", "金额"], *[[f"{s[0].year}/{s[0].month}/{s[0].day}", s[1], s[2], s[3], f"¥{price[s[2]]:.2f}", f"¥{s[3] * price[s[2]]:,.2f}"] for s in sales], ["合计", "", "", sum(s[3] for s in sales), "", f"¥{total:,.2f}"]]), "utf-8-sig", "\r\n")
ask("销售.csv", "总销售金额是多少?", total, "sum without the totals row")
ask("销售.csv", "浦东店一共卖出多少件商品(数量合计)?", sum(s[3] for s in sales if s[1] == "浦东店"), "sum with filter")
ask("销售.csv", "哪种商品的销售金额最高?", best({p: sum(s[3] for s in sales if s[2] == p) * price[p] for p in price}), "group extreme")
ask("销售.csv", "2025年5月有多少条销售记录?", sum(s[0].month == 5 for s in sales), "count by month")

# 10. Spanish expenses: day first, euros after the amount, refunds with a minus after the number.
spending = [(d, rng.choice(["Repsol", "Mercadona", "Renfe", "El Corte Inglés", "Iberdrola"]), rng.choice(["Transporte", "Comida", "Oficina", "Energía"]), money(4, 2200) * (-1 if rng.random() < 0.08 else 1), rng.choice(["Tarjeta", "Efectivo", "Transferencia"])) for d in days(date(2025, 1, 1), 190)]
write("gastos.csv", cells([["Fecha", "Concepto", "Categoría", "Importe", "Forma de pago"], *[[f"{s[0]:%d/%m/%Y}", s[1], s[2], f"{de(abs(s[3]))}{'-' if s[3] < 0 else ''} €", s[4]] for s in spending]], ";"), "cp1252", "\r\n")
ask("gastos.csv", "¿Cuánto suman todos los importes?", sum(s[3] for s in spending), "sum with negatives")
ask("gastos.csv", "¿Cuánto se gastó en Transporte en abril de 2025?", sum(s[3] for s in spending if s[2] == "Transporte" and s[0].month == 4), "sum by month")
ask("gastos.csv", "¿Cuántos pagos se hicieron en efectivo?", sum(s[4] == "Efectivo" for s in spending), "count with filter")
ask("gastos.csv", "¿En qué categoría se gastó más en total?", best({c: sum(s[3] for s in spending if s[2] == c) for c in {s[2] for s in spending}}), "group extreme")

# 11. Power used, a column a year; amounts in parentheses in the accounts below it.
plants = [(f"Plant {n}", rng.choice(["North", "South"]), *[rng.randint(800, 9900) for _ in range(4)]) for n in range(1, 26)]
write("energy.tsv", cells([["site", "region", "2022", "2023", "2024", "2025"], *plants], "\t"))
ask("energy.tsv", "What is the total for 2024?", sum(p[4] for p in plants), "sum of a year's column")
ask("energy.tsv", "Which site used the most in 2025?", best({p[0]: p[5] for p in plants}), "extreme")
ask("energy.tsv", "How many sites used less in 2023 than in 2022?", sum(p[3] < p[2] for p in plants), "comparison")
ask("energy.tsv", "What is the average for the South region in 2022, to one decimal?", round(sum(p[2] for p in plants if p[1] == "South") / sum(p[1] == "South" for p in plants), 1), "average")

ledger = [(d, rng.choice(["Sales", "Rent", "Payroll", "Travel", "Interest"]), None, rng.choice(["Leeds", "York"])) for d in days(date(2025, 1, 1), 180)]
ledger = [(d, a, money(200, 9000) * (1 if a in ("Sales", "Interest") else -1), b) for d, a, _, b in ledger]
rows = [[f"{d.month:02}/{d.day:02}/{d.year}", a, b, f"${v:,.2f}" if v >= 0 else f"(${-v:,.2f})"] for d, a, v, b in ledger]
write("ledger.csv", cells([["Halden Ltd - General Ledger"], ["As of 12/31/2025"], [], ["Date", "Account", "Branch", "Amount"], *rows, [], ["", "", "Net", f"${sum(l[2] for l in ledger):,.2f}"]]))
ask("ledger.csv", "What is the sum of all amounts?", sum(l[2] for l in ledger), "sum with negatives")
ask("ledger.csv", "What was the net amount of the York branch in the second quarter of 2025?", sum(l[2] for l in ledger if l[3] == "York" and l[0].month in (4, 5, 6)), "sum by quarter")
ask("ledger.csv", "How many entries are negative?", sum(l[2] < 0 for l in ledger), "count with filter")
ask("ledger.csv", "Which account has the lowest sum?", best({a: sum(l[2] for l in ledger if l[1] == a) for a in {l[1] for l in ledger}}, False), "group extreme")

(here.parent / "exports.dev.jsonl").write_text("".join(json.dumps(q, ensure_ascii=False) + "\n" for q in questions), "utf-8")
print(len(questions), "questions")
