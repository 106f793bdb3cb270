/* What a program may print of a URL. Pure. */
#ifndef BASE_URL_H
#define BASE_URL_H

/* s with the password of SCHEME://[user]:password@… as ****; any other text is as it was. malloc'd.
 * A password that holds '/' or '@' unescaped is masked whole as well. */
char *url_mask(const char *s);

#endif
