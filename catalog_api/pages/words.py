"""What the pages say, in Russian and English."""

from __future__ import annotations

import re
from typing import Any

LANGUAGES = ("ru", "en")

WORDS: dict[str, dict[str, str]] = {
    "ru": {
        "site": "Versions",
        "tagline": "Песни и все их версии",
        "search": "Поиск",
        "search_hint": "Песня или исполнитель",
        "songs": "Песни",
        "artists": "Исполнители",
        "versions": "Версии",
        "newest": "Новые",
        "by_title": "По названию",
        "next_page": "Дальше",
        "first_page": "В начало",
        "nothing": "Ничего не нашлось.",
        "empty": "Каталог пока пуст: запустите кампанию, и песни появятся здесь.",
        "results_for": "Найдено по запросу",
        "also_known": "Другие названия",
        "also_named": "Другие написания",
        "sources": "Источники",
        "preferred": "основной",
        "stored": "хранится здесь",
        "lyrics": "Текст",
        "api": "API",
        "this_in_api": "Эта страница в API",
        "listen": "Слушать",
        "waveform": "Форма волны",
        "no_source": "Источников нет.",
        "not_found": "Страница не найдена",
        "not_found_text": "Такой страницы в каталоге нет.",
        "gone": "Удалено",
        "gone_text": "Эта страница была удалена из каталога.",
        "error": "Ошибка",
        "error_text": "Страницу не удалось показать.",
        "skip": "К содержанию",
        "other_language": "English",
        "duration": "Длительность",
        "kind.original": "оригинал",
        "kind.cover": "кавер",
        "kind.live": "концерт",
        "kind.demo": "демо",
        "kind.remix": "ремикс",
        "kind.acoustic": "акустика",
        "kind.instrumental": "инструментал",
        "kind.karaoke": "караоке",
        "kind.remaster": "ремастер",
        "kind.edit": "редакция",
        "and": "и",
        "language.ru": "на русском",
        "language.en": "на английском",
        "language.uk": "на украинском",
        "language.be": "на белорусском",
        "role.performer": "исполняет",
        "role.composer": "музыка",
        "role.lyricist": "слова",
        "role.arranger": "аранжировка",
        "role.ensemble": "ансамбль",
        "availability.available": "доступно",
        "availability.removed": "удалено",
        "availability.private": "закрыто",
        "availability.geo_blocked": "закрыто по стране",
        "availability.age_restricted": "по возрасту",
        "availability.auth_required": "нужен вход",
        "availability.rate_limited": "ограничено",
        "availability.adapter_broken": "не проверено",
        "availability.unknown": "неизвестно",
    },
    "en": {
        "site": "Versions",
        "tagline": "Songs and all their versions",
        "search": "Search",
        "search_hint": "Song or artist",
        "songs": "Songs",
        "artists": "Artists",
        "versions": "Versions",
        "newest": "Newest",
        "by_title": "By title",
        "next_page": "Next",
        "first_page": "Back to the start",
        "nothing": "Nothing was found.",
        "empty": "The catalog is empty yet: start a campaign, and songs will appear here.",
        "results_for": "Results for",
        "also_known": "Also known as",
        "also_named": "Also spelled",
        "sources": "Sources",
        "preferred": "preferred",
        "stored": "stored here",
        "lyrics": "Lyrics",
        "api": "API",
        "this_in_api": "This page in the API",
        "listen": "Listen",
        "waveform": "Waveform",
        "no_source": "No sources.",
        "not_found": "Page not found",
        "not_found_text": "There is no such page in the catalog.",
        "gone": "Gone",
        "gone_text": "This page was deleted from the catalog.",
        "error": "Error",
        "error_text": "The page could not be shown.",
        "skip": "Skip to content",
        "other_language": "Русский",
        "duration": "Duration",
        "kind.original": "original",
        "kind.cover": "cover",
        "kind.live": "live",
        "kind.demo": "demo",
        "kind.remix": "remix",
        "kind.acoustic": "acoustic",
        "kind.instrumental": "instrumental",
        "kind.karaoke": "karaoke",
        "kind.remaster": "remaster",
        "kind.edit": "edit",
        "and": "and",
        "language.ru": "in Russian",
        "language.en": "in English",
        "language.uk": "in Ukrainian",
        "language.be": "in Belarusian",
        "role.performer": "performed by",
        "role.composer": "music",
        "role.lyricist": "words",
        "role.arranger": "arranged by",
        "role.ensemble": "ensemble",
        "availability.available": "available",
        "availability.removed": "removed",
        "availability.private": "private",
        "availability.geo_blocked": "blocked by country",
        "availability.age_restricted": "age-restricted",
        "availability.auth_required": "needs an account",
        "availability.rate_limited": "rate-limited",
        "availability.adapter_broken": "not checked",
        "availability.unknown": "unknown",
    },
}


def choose(asked: str | None, accept_language: str) -> str:
    """The language of a page: the one asked for, else the reader's first choice that we have, else English."""
    if asked in LANGUAGES:
        return asked
    choices: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept_language[:500].split(",")):
        match = re.match(r"\s*([a-zA-Z]{1,8})(?:-[\w-]*)?\s*(?:;\s*q\s*=\s*([\d.]{1,5}))?\s*\Z", part)
        if match and match[1].lower() in LANGUAGES:
            try:
                weight = float(match[2] or 1)
            except ValueError:
                continue
            if weight > 0:
                choices.append((-weight, place, match[1].lower()))
    return min(choices)[2] if choices else "en"


def clock(seconds: Any) -> str:
    """Minutes and seconds as people write them: 2:44."""
    if seconds is None:
        return ""
    whole = round(float(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def counted(language: str, number: int) -> str:
    """«3 версии», "3 versions"."""
    if language == "en":
        return f"{number} version" if number == 1 else f"{number} versions"
    if number % 10 == 1 and number % 100 != 11:
        return f"{number} версия"
    few = number % 10 in (2, 3, 4) and number % 100 not in (12, 13, 14)
    return f"{number} {'версии' if few else 'версий'}"
