"""Parts of the yt-dlp engine; `crawlers.yt_dlp` puts them together."""
