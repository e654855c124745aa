"""How pages and figure files are drawn: escaped markup, charts as SVG, figures by matplotlib."""
