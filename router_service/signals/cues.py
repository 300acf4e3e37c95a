"""Words by which a request says what is to be done, in eleven languages and more.

A cue is a word, folded to lower case. `word*` stands for every word that begins so; `fasse zusammen` wants both words; a cue
without letters of an alphabet (Chinese, Japanese, Korean) is looked for anywhere.
"""

from __future__ import annotations

from router_service.signals.signals import Task

WORDS: dict[Task, str] = {
    Task.SUMMARIZE: """
        summar* abridge* tl;dr tldr condense* | zusammenfass* zusammenzufassen fasse+zusammen fass+zusammen
        fassen+zusammen | résum* résumez | resumen resumir resúme* resume+el resume+la resume+este resume+esta
        resume+texto sintetiz* | riassum* sintetizz* | resuma resumo resumindo | samenvat* vat+samen | podsumuj* streść
        streszcz* podsumowan* | суммируй* резюмируй* обобщи* кратко+изложи* изложи+кратко резюме+текста | özetle*
        sammanfatta* shrň* shrnutí підсумуй*
    """,
    Task.TRANSLATE: """
        translat* | übersetz* | tradui* traduction* | traduc* traduzca traduzc* | tradur* traduci traduzione | traduz*
        traduç* | vertaal* vertaling* vertalen | przetłumacz* tłumacz* przekład | перевед* перевест* перевод* | çevir*
        översätt* přelož* перекла*
    """,
    Task.EXTRACT: """
        extract* list+mentioned find+all identify+all | extrahier* entnimm entnehm* liste+auf | extrai* extrayez
        extraire relève+noms | extrae extraiga extraer | estrai estrarre estragga estrazione | extraia extrair |
        extraheer* haal+uit | wyodrębni* wyciągnij wypisz | извлек* выпиши* | çıkar+bilgi* extrahera vyjmi витягни
    """,
    Task.CLASSIFY: """
        classif* categoriz* categoris* sentiment label+text which+category | klassifizier* kategorisier* einordn*
        ordne+ein | classe+texte classez catégoris* | clasific* categoriz* | classific* | classifica* categorizz* |
        classificeer* categoriseer* | sklasyfikuj* zaklasyfikuj* kategori* | классифицир* категори* | sınıflandır*
        klassificera klasifikuj* класифіку*
    """,
    Task.REWRITE: """
        rewrit* rephras* paraphras* proofread* reword* correct+grammar fix+grammar shorten simplif* | umformulier*
        formuliere+um korrigier* vereinfach* | reformul* corrig* simplifi* | reescrib* reformul* parafrase* corrige
        corrija | riscriv* riformul* corregg* | reescrev* corrija | herschrijf* herformuleer* verbeter+tekst |
        przeredaguj* przepisz popraw* | перепиши* перефразир* исправь* отредактируй*
    """,
    Task.CODE: """
        python+function python+script javascript typescript sql+query regex refactor* debug* unit+test* write+function
        write+code explain+code fix+bug bash+script write+class compile* stack+trace traceback
    """,
    Task.MATH: """
        solve calculat* comput* equation* integral derivative prove+that evaluate+expression | berechn* gleichung*
        ausrechne* | calcul* équation* résou* résol* | calcul* ecuaci* resuelv* | calcol* equazion* risolv* | calcule
        equaç* resolva | bereken* vergelijking | oblicz* równani* rozwiąż | вычисл* уравнен* реши*
    """,
    Task.WRITE: """
        write+email write+letter write+story write+poem write+essay write+article write+post draft compose+email
        compose+letter | schreib* verfass* | rédige* écris écrivez | redact* escrib* | scriv* redig* | redija escrev* |
        schrijf* | napisz* | напиши*
    """,
}

CHARACTERS: dict[Task, tuple[str, ...]] = {
    Task.SUMMARIZE: ("总结", "總結", "概括", "摘要", "归纳", "要約", "まとめて", "요약"),
    Task.TRANSLATE: ("翻译", "翻譯", "译成", "译为", "翻訳", "訳して", "번역"),
    Task.EXTRACT: ("提取", "抽取", "列出文中", "抽出", "抜き出", "추출"),
    Task.CLASSIFY: ("分类", "分類", "归类", "カテゴリ", "분류"),
    Task.REWRITE: ("改写", "改寫", "润色", "校对", "書き直", "言い換え", "校正", "다시 써"),
    Task.MATH: ("计算", "計算", "求解", "方程", "解いて", "계산"),
    Task.WRITE: ("写一", "撰写", "書いて", "작성"),
}

QUESTION_WORDS = """
    what who whom whose where when why how which is are does do did can could should | was wer wo wann warum wie
        welche* wieso | qui que quoi où quand pourquoi comment quel* combien est-ce | qué quién dónde cuándo cómo cuál*
        cuánt* | chi cosa dove perché come quale* quanto | quem onde quando porquê qual | wat wie waar wanneer waarom
        hoe welke | co kto gdzie kiedy dlaczego jak | что кто где когда почему как какой какая какие сколько
    """
