/* The table of keys as a JSON Schema, with which editors complete, explain and check a config while it is written. */
#ifndef TRAINER_CONFIG_CONFIG_JSON_SCHEMA_H
#define TRAINER_CONFIG_CONFIG_JSON_SCHEMA_H

#include <jansson.h>

/* Draft 7, the newest that YAML's language servers read in full. What needs a look at the machine, at another key or at
 * the model is left to `plan`. The caller releases it. */
json_t *config_json_schema(void);

#endif
