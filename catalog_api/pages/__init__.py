"""Server-rendered pages of the public catalog. They show what the API's reads return, and work without JavaScript."""
