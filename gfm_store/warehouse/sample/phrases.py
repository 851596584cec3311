"""Templates and names of the made world, per language.

In a template `{a}`, `{b}`, `{c}` are the item's words as the vocabulary writes them, and `{A}`, `{B}`, `{C}`
the same with a capital first letter. Item types stand in the order podcast, audiobook, music.
"""

TITLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "en": (
        ("{A} and {B}", "Talking {A}", "All About {A}", "{A}, {B} & {C}", "Notes on {A}", "{A} Weekly"),
        (
            "{A} and {B}",
            "A Book of {A}",
            "Beyond {A}",
            "Of {A} and {B}",
            "Without {A}",
            "{A} & Other Stories",
        ),
        ("{A}", "{A} / {B}", "Songs for {A}", "{A} & {B}", "After {A}", "{A} (Live)"),
    ),
    "de": (
        ("{A} und {B}", "Alles über {A}", "{A} zum Hören", "Kurz gesagt: {A}", "{A}, {B}, {C}", "Thema {A}"),
        ("{A} und {B}", "Nichts als {A}", "{A} und andere Geschichten", "Ein Buch über {A}", "Ohne {A}"),
        ("{A}", "{A} / {B}", "Lieder über {A}", "Nur {A}", "{A} & {B}", "{A} (live)"),
    ),
    "es": (
        ("{A} y {B}", "Todo sobre {a}", "Hablemos de {a}", "Entre {a} y {b}", "{A} al día", "{A}, {b}, {c}"),
        ("{A} y {B}", "Libro de {a}", "Sin {a}", "Cuentos de {a}", "Entre {a} y {b}", "{A} y otros relatos"),
        ("{A}", "{A} / {B}", "Canciones de {a}", "{A} y {b}", "Solo {a}", "{A} (en directo)"),
    ),
    "fr": (
        ("{A} et {b}", "Parlons {a}", "Entre {a} et {b}", "Passion {a}", "{A}, {b}, {c}", "Dossier {a}"),
        ("{A} et {b}", "Sans {a} ni {b}", "Entre {a} et {b}", "{A}, un roman", "{A} et autres récits"),
        ("{A}", "{A} / {B}", "{A} et {b}", "Rien que {a}", "Chansons : {a}", "{A} (en public)"),
    ),
    "sv": (
        ("{A} och {b}", "Allt om {a}", "Vi pratar {a}", "Mellan {a} och {b}", "{A} i fokus", "{A}, {b}, {c}"),
        ("{A} och {b}", "Boken om {a}", "Bortom {a}", "Berättelser om {a}", "Utan {a}"),
        ("{A}", "{A} / {B}", "Sånger om {a}", "{A} & {b}", "Bara {a}", "{A} (live)"),
    ),
}

SENTENCES: dict[str, tuple[tuple[str, ...], ...]] = {
    "en": (
        (
            "Conversations about {a}, {b} and {c}.",
            "A weekly look at {b}, {c} and {a}.",
            "Stories of {c} and {b}.",
        ),
        ("A tale of {a}, {b} and {c}.", "Where {b} meet {c}.", "A long-awaited book on {a} and {c}."),
        ("An album about {a} and {b}.", "New songs: {b}, {c}, {a}.", "A record full of {c} and {a}."),
    ),
    "de": (
        ("Gespräche über {a}, {b} und {c}.", "Jede Woche: {b}, {c} und {a}.", "Hier geht es um {c} und {b}."),
        ("Es geht um {a}, {b} und {c}.", "Ein Hörbuch über {b} und {c}.", "Ein Roman: {a}, {c} und {b}."),
        ("Ein Album über {a} und {b}.", "Neue Stücke: {b}, {c}, {a}.", "Musik für {c} und {a}."),
    ),
    "es": (
        ("Charlas sobre {a}, {b} y {c}.", "Cada semana: {b}, {c} y {a}.", "Aquí hablamos de {c} y {b}."),
        ("Un relato de {a}, {b} y {c}.", "Un audiolibro sobre {b} y {c}.", "Una novela: {a}, {c} y {b}."),
        ("Un álbum sobre {a} y {b}.", "Nuevos temas: {b}, {c}, {a}.", "Música para {c} y {a}."),
    ),
    "fr": (
        ("Au programme : {a}, {b} et {c}.", "Chaque semaine : {b}, {c} et {a}.", "On y parle {c} et {b}."),
        ("Un récit entre {a}, {b} et {c}.", "Un livre audio : {b} et {c}.", "Un roman : {a}, {c} et {b}."),
        ("Un album entre {a} et {b}.", "Nouveaux titres : {b}, {c}, {a}.", "Musique pour {c} et {a}."),
    ),
    "sv": (
        ("Samtal om {a}, {b} och {c}.", "Varje vecka: {b}, {c} och {a}.", "Här handlar det om {c} och {b}."),
        ("En berättelse om {a}, {b} och {c}.", "En ljudbok om {b} och {c}.", "En roman: {a}, {c} och {b}."),
        ("Ett album om {a} och {b}.", "Nya låtar: {b}, {c}, {a}.", "Musik för {c} och {a}."),
    ),
}

NEUTRAL: dict[str, tuple[tuple[str, ...], ...]] = {
    "en": (
        (
            "New episodes every week.",
            "With guests from all over the world.",
            "Recorded in front of an audience.",
        ),
        ("Unabridged.", "Read by the author.", "The first part of a trilogy."),
        ("Recorded in three days.", "Ten tracks.", "Remastered."),
    ),
    "de": (
        ("Jede Woche eine neue Folge.", "Mit Gästen aus aller Welt.", "Vor Publikum aufgenommen."),
        ("Ungekürzte Lesung.", "Vom Autor selbst gelesen.", "Der erste Teil einer Trilogie."),
        ("In drei Tagen aufgenommen.", "Zehn Stücke.", "Neu gemastert."),
    ),
    "es": (
        ("Un episodio nuevo cada semana.", "Con invitados de todo el mundo.", "Grabado con público."),
        ("Versión íntegra.", "Leído por su autor.", "Primera parte de una trilogía."),
        ("Grabado en tres días.", "Diez temas.", "Remasterizado."),
    ),
    "fr": (
        ("Un nouvel épisode par semaine.", "Avec des invités du monde entier.", "Enregistré en public."),
        ("Version intégrale.", "Lu par son auteur.", "Premier tome d'une trilogie."),
        ("Enregistré en trois jours.", "Dix titres.", "Remasterisé."),
    ),
    "sv": (
        ("Nytt avsnitt varje vecka.", "Med gäster från hela världen.", "Inspelat inför publik."),
        ("Oavkortad uppläsning.", "Uppläst av författaren.", "Första delen i en trilogi."),
        ("Inspelat på tre dagar.", "Tio spår.", "Nymastrad."),
    ),
}

MOODS = ("calm", "intense", "playful", "learned")
MOOD_SENTENCES: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        ("Calm and unhurried.", "Gentle company for quiet hours."),
        ("Dark and gripping.", "Tense from the first minute."),
        ("Light-hearted and full of fun.", "Playful, with a wink."),
        ("Thorough, with experts and sources.", "For those who want to know exactly."),
    ),
    "de": (
        ("Ruhig und ohne Eile.", "Sanfte Begleitung für stille Stunden."),
        ("Düster und packend.", "Spannend von der ersten Minute an."),
        ("Heiter und voller Späße.", "Verspielt und mit Augenzwinkern."),
        ("Gründlich, mit Fachleuten und Quellen.", "Für alle, die es genau wissen wollen."),
    ),
    "es": (
        ("Tranquilo y sin prisas.", "Suave compañía para las horas quietas."),
        ("Oscuro y absorbente.", "Tensión desde el primer minuto."),
        ("Alegre y muy divertido.", "Juguetón, con un guiño."),
        ("Riguroso, con expertos y fuentes.", "Para quien quiere saberlo todo."),
    ),
    "fr": (
        ("Calme et sans hâte.", "Une douce compagnie pour les heures tranquilles."),
        ("Sombre et captivant.", "Haletant dès la première minute."),
        ("Léger et plein d'humour.", "Espiègle, avec un clin d'œil."),
        ("Rigoureux, avec experts et sources.", "Pour ceux qui veulent tout savoir."),
    ),
    "sv": (
        ("Lugnt och utan brådska.", "Stilla sällskap för tysta timmar."),
        ("Mörkt och gripande.", "Spännande från första minuten."),
        ("Lättsamt och fullt av skoj.", "Lekfullt, med glimten i ögat."),
        ("Grundligt, med experter och källor.", "För den som vill veta exakt."),
    ),
}

FIRST_NAMES = {
    "en": "Ada Owen Grace Miles Ivy Noah Hazel Finn Ruby Jack Nora Leo Edith Theo Pearl Hugh",
    "de": "Anna Jonas Greta Emil Klara Felix Lotte Moritz Ida Anton Frieda Karl Marlene Otto Paula Ludwig",
    "es": "Lucía Mateo Carmen Diego Elena Hugo Inés Pablo Marta Javier Rosa Andrés Pilar Bruno Sofía Tomás",
    "fr": "Camille Louis Élise Hugo Margot Jules Inès Lucien Adèle Marcel Colette Rémi Odile Noé Lise Léon",
    "sv": "Astrid Nils Saga Elias Ebba Gustav Maja Oskar Tuva Axel Linnea Sixten Vera Hjalmar Signe Love",
}
LAST_NAMES = {
    "en": "Marlowe Whitfield Okafor Hughes Sinclair Bennett Ashdown Porter Quill Barrow Lindsey Fairfax "
    "Reyes Holloway Nash Winter Caldwell Moss Thorne Ellery",
    "de": "Brandt Seidel Vogt Lehmann Winter Kessler Arndt Hoffstedt Reuter Falk Steiner Yilmaz Busch Jansen "
    "Thalheim Ried Sommer Auer Kling Petersen",
    "es": "Navarro Campos Ríos Vega Molina Serrano Luna Herrera Prado Castaño Quiroga Bermejo Salinas Duarte "
    "Olmedo Rivas Cuenca Arroyo Lara Montes",
    "fr": "Moreau Delorme Lefort Garnier Chevalier Roussel Marchand Vasseur Benali Perrin Fontaine Maillard "
    "Aubert Collet Duval Lambert Sorel Tessier Valmont Renaud",
    "sv": "Lindqvist Ekström Bergman Sandberg Nyström Hallgren Åkesson Dahl Forsberg Wallin Sjöberg Norén "
    "Lundin Holm Öberg Strand Rask Björk Ahlin Melander",
}
BAND_OPENINGS = {
    "en": "Amber Velvet Paper Silver Crooked Distant Electric Hollow Northern Lucky Scarlet Golden",
    "de": "Stille Blaue Späte Ferne Goldene Kleine Wilde Alte Rote Helle Lange Leise",
    "es": "Los_Nuevos Los_Últimos Los_Viejos Los_Otros Los_Grandes Los_Azules Los_Tristes Los_Raros",
    "fr": "Les_Nouveaux Les_Petits Les_Derniers Les_Grands Les_Vieux Les_Autres Les_Beaux Les_Jeunes",
    "sv": "Stora Blå Tysta Sena Gamla Vilda Röda Långa Gyllene Glada Norra Lilla",
}
BAND_ENDINGS = {
    "en": "Foxes Parade Lanterns Rivers Motel Sparrows Union Engines Orchard Signals Harbour Kites Choir",
    "de": "Füchse Laternen Nachbarn Schwalben Funken Motoren Gärten Segler Tiger Stimmen Pfade Uhren",
    "es": "Faroles Gorriones Vecinos Motores Zorros Caminos Relojes Marineros Tigres Coros Planetas Jardines",
    "fr": "Renards Lampions Voisins Moineaux Moteurs Jardins Marins Tigres Chemins Signaux Chœurs Orages",
    "sv": "Rävar Lyktor Grannar Svalor Motorer Trädgårdar Seglare Tigrar Röster Stigar Klockor Gnistor",
}
