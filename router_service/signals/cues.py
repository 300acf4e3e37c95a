"""Words by which a request says what is to be done, in eleven languages and more.

A cue is a word, folded to lower case. `word*` stands for every word that begins so; `fasse+zusammen` wants both; a cue
without letters of an alphabet (Chinese, Japanese, Korean) is looked for anywhere.
"""

from __future__ import annotations

from router_service.signals.signals import Task

WORDS: dict[Task, str] = {
    Task.SUMMARIZE: """
        summar* abridge* tl;dr tldr condense* | zusammenfass* zusammenzufassen fasse+zusammen fasst+zusammen
        fass+zusammen fassen+zusammen | résum* résumez | resumen resumir resúme* resume+el resume+la resume+este
        resume+esta resume+texto sintetiz* | riassum* riassunt* sintetizz* | resuma resumo resumindo | samenvat*
        vat+samen | podsumuj* streść streszcz* podsumowan* | суммируй* резюмируй* обобщи* кратко+изложи* изложи+кратко
        резюме+текста | özetle* sammanfatta* shrň* shrnutí підсумуй* | main+points key+points gist overview |
        zusammengefass* inhaltsangabe essentiel+texte kurzfassung wichtigste*+punkte kernaussage* | synthétis* synthèse
        | síntesis | sintesi | sumariz* síntese | hoofdpunten | skróć główne+punkty | краткое+содержание
        кратко+перескажи* перескажи* краткое+резюме сделай+резюме | özet
    """,
    Task.TRANSLATE: """
        translat* | übersetz* | tradui* traduction* | traduc* traduzca tradúc* traduzc* | tradur* traduci traduzione |
        traduz* traduç* | vertaal* vertaling* vertalen | przetłumacz* tłumacz* przekład | перевед* перевест* перевод* |
        çevir* översätt* přelož* перекла* | übertrage+ins übertragen+ins put+into+spanish put+into+french
        put+into+german put+into+english
    """,
    Task.EXTRACT: """
        extract* list+mentioned find+all identify+all | extrahier* entnimm entnehm* liste+auf | extrai* extrayez
        extraire relève+noms | extrae extraiga extraer | estrai estrarre estragga estrazione | extraia extrair |
        extraheer* haal+uit | wyodrębni* wyciągnij wypisz | извлек* извлеч* выпиши* | çıkar+bilgi* extrahera vyjmi
        витягни | pull+out list+all find+every | zieh*+heraus nenne+alle suche+heraus liste+alle finde+alle | liste+tou*
        trouve+tou* relève+tou* | encuentra+tod* lista+tod* enumera+tod* | trova+tutt* elenca+tutt* | encontre+tod*
        liste+tod* | noem+alle zoek+alle | znajdź+wszystkie wymień+wszystkie | найди+все перечисли+все
    """,
    Task.CLASSIFY: """
        classif* categoriz* categoris* sentiment label+text which+category | klassifizier* kategorisier* einordn*
        ordne+ein | classe+texte classez catégoris* | clasific* categoriz* | classific* | classifica* categorizz* |
        classificeer* categoriseer* | sklasyfikuj* zaklasyfikuj* kategori* | классифицир* категори* | sınıflandır*
        klassificera klasifikuj* класифіку* | assign+label* assign+categor* label+following review+positive
        review+negative tweet+positive spam+ham | stimmung bewertung+positiv tonalität | avis+positif tonalité |
        reseña+positiva | recensione+positiva | recensie+positief | opinia+pozytywna | тональност* отзыв+положительн*
    """,
    Task.REWRITE: """
        rewrit* rephras* paraphras* proofread* reword* correct+grammar fix+grammar shorten simplif* | umformulier*
        formuliere+um korrigier* vereinfach* | reformul* corrig* simplifi* | reescrib* reformul* parafrase* corrige
        corrija | riscriv* riformul* corregg* | reescrev* corrija | herschrijf* herformuleer* verbeter+tekst |
        przeredaguj* przepisz popraw* | перепиши* перефразир* исправь* отредактируй* | more+formal more+polite
        more+concise sound+more improve+wording improve+style improve+writing polish+text correct+errors |
        verbesser*+stil verbesser*+text schreib*+um | améliore*+style améliore*+texte | mejora+estilo mejora+texto |
        migliora+stile migliora+testo | melhore+texto | herformulieer* | улучши+текст улучши+стиль
    """,
    Task.CODE: """
        python+function python+script javascript typescript sql+query regex refactor* debug* unit+test* write+function
        write+code explain+code fix+bug bash+script write+class compile* stack+trace traceback | sql pandas numpy
        dataframe java+implement java+write implement+function implement+algorithm implement+class python+code
        python+program python+list function+throw* function+return* typeerror* nullpointerexception rust+function
        docker* kubernetes html css | funktion+python programm+python | fonction+python | función+python |
        funzione+python | função+python | функцию+python
    """,
    Task.MATH: """
        solve calculat* comput* equation* integral derivative prove+that evaluate+expression | berechn* gleichung*
        ausrechne* | calcul* équation* résou* résol* | calcul* ecuaci* resuelv* | calcol* equazion* risolv* | calcule
        equaç* resolva | bereken* vergelijking | oblicz* równani* rozwiąż | вычисл* уравнен* реши* | find+x
        simplify+expression percent+of | wie+viel+ergibt | combien+font
    """,
    Task.WRITE: """
        write+email write+letter write+story write+poem write+essay write+article write+post draft compose+email
        compose+letter | schreib* verfass* | rédige* écris écrivez | redact* escrib* | scriv* redig* | redija escrev* |
        schrijf* | napisz* | напиши* | compose poem story+short | gedicht | poème | poema | poesia | gedicht | wiersz |
        стих*
    """,
}

CHARACTERS: dict[Task, tuple[str, ...]] = {
    Task.SUMMARIZE: ("总结", "總結", "概括", "摘要", "归纳", "要約", "まとめて", "要点", "요약"),
    Task.TRANSLATE: ("翻译", "翻譯", "译成", "译为", "翻訳", "訳して", "英訳", "和訳", "번역"),
    Task.EXTRACT: ("提取", "抽取", "列出文中", "抽出", "抜き出", "找出", "추출"),
    Task.CLASSIFY: ("分类", "分類", "归类", "情感", "感情", "カテゴリ", "분류"),
    Task.REWRITE: ("改写", "改寫", "润色", "校对", "改得", "書き直", "言い換え", "校正", "다시 써"),
    Task.MATH: ("计算", "計算", "求解", "方程", "解いて", "계산"),
    Task.WRITE: ("写一", "写首", "写篇", "写封", "撰写", "書いて", "작성"),
}

QUESTION_WORDS = """
    what who whom whose where when why how which is are was were does do did should explain* describe* define tell
    | wer wo wann warum wie welche* wieso erklär* beschreib* | qui que quoi où quand pourquoi comment quel* combien est-ce
    | expliqu* décri* | qué quién dónde cuándo cómo cuál* cuánt* explica* describ* | chi cosa dove perché come quale* quanto
    | spieg* descriv* | quem onde quando porquê qual | wat wie waar wanneer waarom hoe welke leg beschrijf
    | co kto gdzie kiedy dlaczego jak wyjaśni* opisz* | что кто где когда почему как какой какая какие сколько объясни* опиши*
"""

# What may stand before the first word that counts.
POLITE_WORDS = (
    "please bitte could can would you könnten könntest sie du por favor puoi prego proszę пожалуйста kun je so and"
)
