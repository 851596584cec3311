"""The words of the made world: 24 topics, each with three scenes, in five languages.

A block of `_TOPICS` is one topic: its name and its genre as podcast, audiobook and music; then, for each
language, six words that all of the topic shares and three words for each of its three scenes. All words
are nouns that can stand without an article, so that one template fits them all.
"""

from dataclasses import dataclass
from functools import cache

LANGUAGES = ("en", "de", "es", "fr", "sv")
SCENES_PER_TOPIC = 3
SHARED_WORDS, SCENE_WORDS = 6, 3
WORDS_PER_TOPIC = SHARED_WORDS + SCENES_PER_TOPIC * SCENE_WORDS


@dataclass(frozen=True)
class Topic:
    """One topic: its genre per item type, and its 15 words per language (shared, then scene by scene)."""

    name: str
    genres: tuple[str, str, str]
    words: dict[str, tuple[str, ...]]


@cache
def topics() -> tuple[Topic, ...]:
    """All topics, in the order that numbers them."""
    made = []
    for block in _TOPICS.strip().split("\n\n"):
        head, *lines = block.splitlines()
        name, genres = head.split(": ")
        podcast, audiobook, music = genres.split(", ")
        words: dict[str, tuple[str, ...]] = {}
        for shared, scenes in zip(lines[::2], lines[1::2], strict=True):
            language, first = shared.split(maxsplit=1)
            groups = [first, *scenes.split("|")]
            words[language] = tuple(word.strip() for group in groups for word in group.split(","))
        made.append(Topic(name, (podcast, audiobook, music), words))
    return tuple(made)


_TOPICS = """
sea: Nature, Adventure, Ambient
en sea, tides, waves, salt, currents, lighthouses
   sails, harbours, captains | reefs, whales, abysses | beaches, dunes, seashells
de Meer, Gezeiten, Wellen, Salz, Strömungen, Leuchttürme
   Segel, Häfen, Kapitäne | Riffe, Wale, Tiefsee | Strände, Dünen, Muscheln
es mar, mareas, olas, sal, corrientes, faros
   velas, puertos, capitanes | arrecifes, ballenas, abismos | playas, dunas, conchas
fr mer, marées, vagues, sel, courants, phares
   voiles, ports, capitaines | récifs, baleines, abysses | plages, dunes, coquillages
sv hav, tidvatten, vågor, salt, strömmar, fyrar
   segel, hamnar, kaptener | rev, valar, djuphav | stränder, dyner, snäckor

space: Science, Science Fiction, Electronic
en stars, planets, orbits, galaxies, moons, telescopes
   comets, eclipses, constellations | rockets, astronauts, launch pads | aliens, starships, colonies
de Sterne, Planeten, Umlaufbahnen, Galaxien, Monde, Teleskope
   Kometen, Finsternisse, Sternbilder | Raketen, Astronauten, Startrampen | Aliens, Raumschiffe, Kolonien
es estrellas, planetas, órbitas, galaxias, lunas, telescopios
   cometas, eclipses, constelaciones | cohetes, astronautas, lanzamientos | extraterrestres, naves, colonias
fr étoiles, planètes, orbites, galaxies, lunes, télescopes
   comètes, éclipses, zodiaques | fusées, astronautes, lancements | extraterrestres, vaisseaux, colonies
sv stjärnor, planeter, omloppsbanor, galaxer, månar, teleskop
   kometer, förmörkelser, stjärnbilder | raketer, astronauter, uppskott | utomjordingar, rymdskepp, kolonier

crime: True Crime, Crime & Thriller, Trip-Hop
en crime, evidence, suspects, motives, alibis, secrets
   detectives, fingerprints, clues | courtrooms, lawyers, verdicts | heists, vaults, getaways
de Verbrechen, Beweise, Verdächtige, Motive, Alibis, Geheimnisse
   Ermittler, Fingerabdrücke, Spuren | Gerichte, Anwälte, Urteile | Raubzüge, Tresore, Fluchtwagen
es crímenes, pruebas, sospechosos, motivos, coartadas, secretos
   detectives, huellas, pistas | tribunales, abogados, sentencias | atracos, cajas fuertes, fugas
fr crimes, preuves, suspects, mobiles, alibis, secrets
   enquêteurs, empreintes, indices | tribunaux, avocats, verdicts | braquages, coffres, cavales
sv brott, bevis, misstänkta, motiv, alibin, hemligheter
   detektiver, fingeravtryck, ledtrådar | rättssalar, advokater, domar | kupper, kassaskåp, flyktbilar

history: History, Historical Fiction, Classical
en history, empires, archives, kings, battles, maps
   legions, gladiators, emperors | castles, knights, cathedrals | revolutions, barricades, pamphlets
de Geschichte, Imperien, Archive, Könige, Schlachten, Landkarten
   Legionen, Gladiatoren, Kaiser | Burgen, Ritter, Kathedralen | Revolutionen, Barrikaden, Flugblätter
es historia, reinos, archivos, reyes, batallas, mapas
   legiones, gladiadores, emperadores | castillos, caballeros, catedrales | revueltas, barricadas, panfletos
fr histoire, empires, archives, rois, batailles, cartes
   légions, gladiateurs, empereurs | châteaux, chevaliers, cathédrales | révolutions, barricades, pamphlets
sv historia, riken, arkiv, kungar, slag, kartor
   legioner, gladiatorer, kejsare | borgar, riddare, katedraler | revolutioner, barrikader, flygblad

cooking: Food, Memoir, Bossa Nova
en kitchens, recipes, flavours, chefs, dinners, knives
   bread, sourdough, pastries | spices, noodles, market stalls | herbs, pickles, vegetables
de Küchen, Rezepte, Aromen, Köche, Abendessen, Messer
   Brot, Sauerteig, Gebäck | Gewürze, Nudeln, Marktstände | Kräuter, Eingelegtes, Gemüse
es cocinas, recetas, sabores, cocineros, cenas, cuchillos
   pan, masa madre, pasteles | especias, fideos, mercados | hierbas, encurtidos, verduras
fr cuisines, recettes, saveurs, chefs, dîners, couteaux
   pain, levain, pâtisseries | épices, nouilles, marchés | herbes, conserves, légumes
sv kök, recept, smaker, kockar, middagar, knivar
   bröd, surdeg, bakverk | kryddor, nudlar, torgstånd | örter, inläggningar, grönsaker

sport: Sports, Biography, Dance
en training, champions, rivals, medals, coaches, records
   goals, stadiums, penalties | marathons, trails, sprints | bicycles, sprinters, breakaways
de Training, Meister, Rivalen, Medaillen, Trainer, Rekorde
   Tore, Stadien, Elfmeter | Marathons, Waldläufe, Sprints | Fahrräder, Etappen, Ausreißer
es entrenamientos, campeones, rivales, medallas, entrenadores, récords
   goles, estadios, penaltis | maratones, senderos, carreras | bicicletas, etapas, escapadas
fr entraînements, champions, rivaux, médailles, entraîneurs, records
   buts, stades, penaltys | marathons, sentiers, sprints | vélos, étapes, échappées
sv träning, mästare, rivaler, medaljer, tränare, rekord
   mål, arenor, straffar | maraton, terränglopp, sprintlopp | cyklar, etapper, utbrytningar

money: Business, Business, Hip-Hop
en money, wages, prices, banks, debts, fortunes
   shares, bonds, brokers | start-ups, founders, pitches | savings, pensions, budgets
de Geld, Löhne, Preise, Banken, Schulden, Vermögen
   Aktien, Anleihen, Börsen | Start-ups, Gründer, Geschäftsideen | Ersparnisse, Renten, Haushaltsbücher
es dinero, sueldos, precios, bancos, deudas, fortunas
   acciones, bonos, bolsas | empresas, fundadores, negocios | ahorros, pensiones, presupuestos
fr argent, salaires, prix, banques, dettes, fortunes
   actions, obligations, bourses | start-up, fondateurs, affaires | épargne, retraites, budgets
sv pengar, löner, priser, banker, skulder, förmögenheter
   aktier, obligationer, börser | startupbolag, grundare, affärsidéer | sparande, pensioner, budgetar

mind: Psychology, Self-Help, Chillout
en minds, feelings, habits, fears, attention, silence
   sleep, dreams, rest | memories, puzzles, learning | friendships, conflicts, empathy
de Gedanken, Gefühle, Gewohnheiten, Ängste, Aufmerksamkeit, Stille
   Schlaf, Träume, Ruhe | Erinnerungen, Rätsel, Lernen | Freundschaften, Konflikte, Mitgefühl
es mentes, emociones, hábitos, miedos, atención, silencio
   sueño, descanso, calma | recuerdos, acertijos, aprendizaje | amistades, conflictos, empatía
fr pensées, émotions, habitudes, peurs, attention, silence
   sommeil, rêves, repos | souvenirs, énigmes, apprentissage | amitiés, conflits, empathie
sv tankar, känslor, vanor, rädslor, uppmärksamhet, tystnad
   sömn, drömmar, vila | minnen, gåtor, lärande | vänskap, konflikter, empati

technology: Technology, Science Fiction, Techno
en machines, inventions, engineers, circuits, screens, gadgets
   robots, sensors, automation | code, compilers, bugs | networks, hackers, passwords
de Maschinen, Erfindungen, Ingenieure, Schaltkreise, Bildschirme, Geräte
   Roboter, Sensoren, Automaten | Quelltexte, Programme, Fehler | Netzwerke, Hacker, Passwörter
es máquinas, inventos, ingenieros, circuitos, pantallas, aparatos
   robots, sensores, autómatas | código, programas, errores | redes, piratas informáticos, contraseñas
fr machines, inventions, ingénieurs, circuits, écrans, gadgets
   robots, capteurs, automates | code, logiciels, bogues | réseaux, pirates, mots de passe
sv maskiner, uppfinningar, ingenjörer, kretsar, skärmar, prylar
   robotar, sensorer, automater | kod, program, buggar | nätverk, hackare, lösenord

wildlife: Nature, Natural History, Folk
en forests, wilderness, tracks, meadows, seasons, rivers
   birds, feathers, nests | wolves, bears, packs | oaks, mosses, mushrooms
de Wälder, Wildnis, Fährten, Wiesen, Jahreszeiten, Flüsse
   Vögel, Federn, Nester | Wölfe, Bären, Rudel | Eichen, Moose, Pilze
es bosques, selvas, rastros, prados, estaciones, ríos
   pájaros, plumas, nidos | lobos, osos, manadas | robles, musgos, setas
fr forêts, nature sauvage, traces, prairies, saisons, rivières
   oiseaux, plumes, nids | loups, ours, meutes | chênes, mousses, champignons
sv skogar, vildmark, spår, ängar, årstider, floder
   fåglar, fjädrar, bon | vargar, björnar, flockar | ekar, mossor, svampar

myths: Mythology, Fantasy, Symphonic Metal
en myths, legends, prophecies, quests, heroes, curses
   runes, ravens, giants | oracles, labyrinths, titans | dragons, elves, enchantments
de Mythen, Legenden, Prophezeiungen, Irrfahrten, Helden, Flüche
   Runen, Raben, Riesen | Orakel, Labyrinthe, Titanen | Drachen, Elfen, Zauber
es mitos, leyendas, profecías, hazañas, héroes, maldiciones
   runas, cuervos, gigantes | oráculos, laberintos, titanes | dragones, elfos, encantamientos
fr mythes, légendes, prophéties, quêtes, héros, malédictions
   runes, corbeaux, géants | oracles, labyrinthes, titans | dragons, elfes, sortilèges
sv myter, legender, profetior, äventyr, hjältar, förbannelser
   runor, korpar, jättar | orakel, labyrinter, titaner | drakar, alver, trolldom

travel: Travel, Travel Writing, World
en journeys, borders, luggage, strangers, detours, postcards
   trains, stations, sleepers | deserts, caravans, oases | islands, ferries, lagoons
de Reisen, Grenzen, Gepäck, Fremde, Umwege, Postkarten
   Züge, Bahnhöfe, Nachtzüge | Wüsten, Karawanen, Oasen | Inseln, Fähren, Lagunen
es viajes, fronteras, maletas, desconocidos, rodeos, postales
   trenes, vías, andenes | desiertos, caravanas, oasis | archipiélagos, barcos, lagunas
fr voyages, frontières, bagages, inconnus, détours, cartes postales
   trains, gares, wagons-lits | déserts, caravanes, oasis | îles, bacs, lagons
sv resor, gränser, bagage, främlingar, omvägar, vykort
   tåg, stationer, nattåg | öknar, karavaner, oaser | öar, färjor, laguner

romance: Relationships, Romance, Soul
en love, kisses, longing, promises, hearts, jealousy
   letters, lovers, balconies | weddings, rings, vows | heartbreak, farewells, tears
de Liebe, Küsse, Sehnsucht, Versprechen, Herzen, Eifersucht
   Briefe, Liebende, Balkone | Hochzeiten, Ringe, Gelübde | Liebeskummer, Abschiede, Tränen
es amor, besos, nostalgia, promesas, corazones, celos
   cartas, amantes, balcones | bodas, anillos, votos | desamor, despedidas, lágrimas
fr amour, baisers, désir, promesses, cœurs, jalousie
   lettres, amants, balcons | mariages, alliances, serments | ruptures, adieux, larmes
sv kärlek, kyssar, längtan, löften, hjärtan, svartsjuka
   brev, älskande, balkonger | bröllop, ringar, trohetslöften | hjärtesorg, avsked, tårar

family: Kids & Family, Children, Children's Music
en children, families, grandparents, games, birthdays, adventures
   lullabies, pillows, bedtime | classrooms, teachers, homework | toddlers, nappies, playgrounds
de Kinder, Familien, Großeltern, Spiele, Geburtstage, Abenteuer
   Wiegenlieder, Kissen, Märchen | Klassenzimmer, Lehrer, Hausaufgaben | Babys, Windeln, Spielplätze
es niños, familias, abuelos, juegos, cumpleaños, aventuras
   nanas, almohadas, cuentos | aulas, maestros, deberes | bebés, pañales, parques
fr enfants, familles, grands-parents, jeux, anniversaires, aventures
   berceuses, oreillers, contes | classes, professeurs, devoirs | bébés, couches, balançoires
sv barn, familjer, morföräldrar, lekar, födelsedagar, upptåg
   vaggvisor, kuddar, godnattsagor | klassrum, lärare, läxor | småbarn, blöjor, lekplatser

politics: News & Politics, Politics, Punk
en politics, power, speeches, scandals, citizens, headlines
   elections, ballots, campaigns | parliaments, coalitions, laws | treaties, embassies, sanctions
de Politik, Macht, Reden, Skandale, Bürger, Schlagzeilen
   Wahlen, Stimmzettel, Wahlkämpfe | Parlamente, Koalitionen, Gesetze | Verträge, Botschaften, Sanktionen
es política, poder, discursos, escándalos, ciudadanos, titulares
   elecciones, votos, campañas | parlamentos, coaliciones, leyes | tratados, embajadas, sanciones
fr politique, pouvoir, discours, scandales, citoyens, manchettes
   élections, bulletins, campagnes | parlements, coalitions, lois | traités, ambassades, sanctions
sv politik, makt, tal, skandaler, medborgare, rubriker
   val, valsedlar, kampanjer | riksdagar, koalitioner, lagar | fördrag, ambassader, sanktioner

medicine: Health, Health, Lo-fi
en health, bodies, symptoms, doctors, cures, patients
   hospitals, surgeons, scars | meals, vitamins, digestion | viruses, vaccines, epidemics
de Gesundheit, Körper, Symptome, Ärzte, Heilmittel, Patienten
   Kliniken, Chirurgen, Narben | Mahlzeiten, Vitamine, Verdauung | Viren, Impfstoffe, Epidemien
es salud, cuerpos, síntomas, médicos, remedios, pacientes
   hospitales, cirujanos, cicatrices | comidas, vitaminas, digestión | virus, vacunas, epidemias
fr santé, corps, symptômes, médecins, remèdes, patients
   hôpitaux, chirurgiens, cicatrices | repas, vitamines, digestion | virus, vaccins, épidémies
sv hälsa, kroppar, symptom, läkare, botemedel, patienter
   sjukhus, kirurger, ärr | måltider, vitaminer, matsmältning | virus, vacciner, epidemier

art: Arts, Art & Culture, Indie
en beauty, colours, studios, exhibitions, masterpieces, shapes
   brushes, portraits, canvases | museums, collectors, auctions | cameras, negatives, shadows
de Schönheit, Farben, Ateliers, Ausstellungen, Meisterwerke, Formen
   Pinsel, Porträts, Leinwände | Museen, Sammler, Auktionen | Kameras, Negative, Schatten
es belleza, colores, talleres, exposiciones, obras maestras, formas
   pinceles, retratos, lienzos | museos, coleccionistas, subastas | cámaras, negativos, sombras
fr beauté, couleurs, ateliers, expositions, chefs-d'œuvre, formes
   pinceaux, portraits, toiles | musées, collectionneurs, enchères | appareils, négatifs, ombres
sv skönhet, färger, ateljéer, utställningar, mästerverk, former
   penslar, porträtt, dukar | museer, samlare, auktioner | kameror, negativ, skuggor

night: Society & Culture, Contemporary Fiction, House
en nights, streets, rooftops, rain, corners, windows
   clubs, dance floors, afterparties | neon, billboards, skylines | taxis, night shifts, kiosks
de Nächte, Straßen, Dächer, Regen, Hinterhöfe, Fenster
   Clubs, Tanzflächen, Afterpartys | Neonlichter, Reklamen, Hochhäuser | Taxis, Nachtschichten, Kioske
es noches, calles, azoteas, lluvia, esquinas, ventanas
   discotecas, pistas de baile, fiestas | neón, carteles, rascacielos | taxis, turnos, quioscos
fr nuits, rues, toits, pluie, ruelles, fenêtres
   boîtes, pistes de danse, fêtes | néons, affiches, gratte-ciel | taxis, veilleurs, kiosques
sv nätter, gator, tak, regn, gathörn, fönster
   klubbar, dansgolv, efterfester | neon, skyltar, skyskrapor | taxibilar, nattskift, kiosker

mountains: Outdoors, Adventure, Post-Rock
en mountains, summits, valleys, avalanches, echoes, clouds
   ropes, climbers, cliffs | skis, snow, glaciers | huts, shepherds, pastures
de Berge, Gipfel, Täler, Lawinen, Echos, Wolken
   Seile, Kletterer, Felswände | Ski, Schnee, Gletscher | Hütten, Hirten, Almen
es montañas, cumbres, valles, avalanchas, ecos, nubes
   cuerdas, escaladores, riscos | esquís, nieve, glaciares | refugios, pastores, pastos
fr montagnes, sommets, vallées, avalanches, échos, nuages
   cordes, grimpeurs, falaises | skis, neige, glaciers | refuges, bergers, alpages
sv berg, toppar, dalar, laviner, ekon, moln
   rep, klättrare, klippor | skidor, snö, glaciärer | stugor, herdar, fäbodar

faith: Religion & Philosophy, Philosophy, Choral
en truth, doubts, souls, wisdom, virtues, time
   monks, abbeys, vigils | paradoxes, thinkers, arguments | prayers, pilgrims, miracles
de Wahrheit, Zweifel, Seelen, Weisheit, Tugenden, Zeit
   Mönche, Abteien, Nachtwachen | Paradoxien, Denker, Argumente | Gebete, Pilger, Wunder
es verdad, dudas, almas, sabiduría, virtudes, tiempo
   monjes, abadías, vigilias | paradojas, pensadores, argumentos | oraciones, peregrinos, milagros
fr vérité, doutes, âmes, sagesse, vertus, temps
   moines, abbayes, veilles | paradoxes, penseurs, arguments | prières, pèlerins, miracles
sv sanning, tvivel, själar, visdom, dygder, tid
   munkar, kloster, vakor | paradoxer, tänkare, argument | böner, pilgrimer, mirakel

musicians: Music, Music Biography, Jazz
en melodies, rhythms, rehearsals, stages, encores, records
   guitars, amplifiers, riffs | trumpets, cellars, improvisation | violins, conductors, symphonies
de Melodien, Rhythmen, Proben, Bühnen, Zugaben, Schallplatten
   Gitarren, Verstärker, Riffs | Trompeten, Jazzkeller, Improvisation | Geigen, Dirigenten, Sinfonien
es melodías, ritmos, ensayos, escenarios, bises, discos
   guitarras, amplificadores, acordes | trompetas, sótanos, solos | violines, directores, sinfonías
fr mélodies, rythmes, répétitions, scènes, rappels, disques
   guitares, amplis, accords | trompettes, caves, improvisations | violons, orchestres, symphonies
sv melodier, rytmer, repetitioner, scener, extranummer, skivor
   gitarrer, förstärkare, riff | trumpeter, källare, improvisation | fioler, dirigenter, symfonier

comedy: Comedy, Humour, Pop
en jokes, laughter, mishaps, nonsense, pranks, applause
   microphones, hecklers, punchlines | satire, caricatures, parodies | clowns, puppets, pies
de Witze, Gelächter, Pannen, Unsinn, Streiche, Applaus
   Mikrofone, Zwischenrufe, Pointen | Satire, Karikaturen, Parodien | Clowns, Puppen, Torten
es chistes, risas, enredos, disparates, bromas, aplausos
   micrófonos, monólogos, remates | sátira, caricaturas, parodias | payasos, marionetas, tartas
fr blagues, rires, gaffes, bêtises, farces, applaudissements
   micros, sketchs, chutes | satire, caricatures, parodies | clowns, marionnettes, tartes
sv skämt, skratt, missöden, nonsens, bus, applåder
   mikrofoner, ståuppkomiker, slutklämmar | satir, karikatyrer, parodier | clowner, marionetter, tårtor

ghosts: Fiction, Horror, Darkwave
en ghosts, shadows, graves, whispers, candles, midnight
   attics, staircases, mirrors | vampires, coffins, bats | witches, cauldrons, spells
de Gespenster, Schatten, Gräber, Flüstern, Kerzen, Mitternacht
   Dachböden, Treppen, Spiegel | Vampire, Särge, Fledermäuse | Hexen, Kessel, Zaubersprüche
es fantasmas, sombras, tumbas, susurros, velas, medianoche
   desvanes, escaleras, espejos | vampiros, ataúdes, murciélagos | brujas, calderos, conjuros
fr fantômes, ombres, tombes, murmures, bougies, minuit
   greniers, escaliers, miroirs | vampires, cercueils, chauves-souris | sorcières, chaudrons, incantations
sv spöken, skuggor, gravar, viskningar, ljus, midnatt
   vindar, trappor, speglar | vampyrer, kistor, fladdermöss | häxor, kittlar, besvärjelser

climate: Science, Science, Folktronica
en climate, carbon, forecasts, harvests, droughts, futures
   storms, floods, lightning | turbines, batteries, sunlight | soil, seeds, farmers
de Klima, Kohlenstoff, Prognosen, Ernten, Dürren, Zukunft
   Stürme, Fluten, Blitze | Windräder, Batterien, Sonnenlicht | Böden, Saatgut, Bauern
es clima, carbono, pronósticos, cosechas, sequías, futuro
   tormentas, riadas, relámpagos | turbinas, baterías, luz solar | suelos, semillas, agricultores
fr climat, carbone, prévisions, récoltes, sécheresses, avenir
   tempêtes, crues, éclairs | éoliennes, batteries, soleil | sols, semences, paysans
sv klimat, kol, prognoser, skördar, torka, framtid
   stormar, översvämningar, blixtar | vindkraft, batterier, solljus | jord, frön, bönder
"""
