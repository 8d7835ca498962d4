/* The filters, by the files they are in. Internal to data/jinja/. */
#ifndef DATA_JINJA_FILTERS_H
#define DATA_JINJA_FILTERS_H

#include "data/jinja/library.h"

#define FILTER(name) value_t filter_##name(render_t *r, value_t v, const call_args_t *args)

/* tojson.c */
FILTER(tojson);
/* filters_order.c */
FILTER(sort);
FILTER(dictsort);
FILTER(unique);
FILTER(min);
FILTER(max);
FILTER(groupby);
/* filters_list.c */
FILTER(map);
FILTER(select);
FILTER(reject);
FILTER(selectattr);
FILTER(rejectattr);
FILTER(batch);
FILTER(slice);
FILTER(first);
FILTER(last);
FILTER(length);
FILTER(list);
FILTER(items);
FILTER(reverse);
FILTER(sum);
FILTER(join);
/* filters_text.c */
FILTER(string);
FILTER(safe);
FILTER(escape);
FILTER(forceescape);
FILTER(upper);
FILTER(lower);
FILTER(title);
FILTER(capitalize);
FILTER(trim);
FILTER(replace);
FILTER(indent);
FILTER(center);
FILTER(truncate);
FILTER(wordcount);
FILTER(format);
FILTER(urlencode);
/* filters_number.c */
FILTER(int);
FILTER(float);
FILTER(abs);
FILTER(round);

/* What `attribute=` of a filter looks up: "a.b.0", an int, or several with commas between them. */
typedef struct {
    value_t *parts; /* texts and ints, in order */
    size_t n;
    value_t missing;  /* stands for what is undefined on the way */
    bool has_missing; /* false: undefined stays so */
    bool lower;       /* a text that is found is made lower case */
} path_t;
path_t path_of(render_t *r, value_t attribute); /* none: the element itself */
value_t path_get(render_t *r, const path_t *path, value_t element);

/* Which element comes first, second ...: a stable order of the keys. */
size_t *value_order(render_t *r, const list_t *keys, bool reverse);

#endif
