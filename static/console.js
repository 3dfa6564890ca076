// The theme's htmx would write styles into the page, which the content policy refuses.
htmx.config.includeIndicatorStyles = false;
