/* Rotary position embeddings (Su et al. 2021) and how their frequencies are scaled for longer texts, as Transformers
 * computes them: linear (Chen et al. 2023), Llama 3.1's, YaRN (Peng et al. 2023), LongRoPE (Ding et al. 2024). */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define ROPE_MAX_PAIRS 256 /* for the types that list a factor for each pair */

typedef enum { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_LONGROPE, ROPE_TYPES } rope_type_t;
extern const char *const rope_type_names[ROPE_TYPES]; /* as config.json has them */

typedef struct {
    rope_type_t type;
    double theta;
    double factor;
    double original;               /* positions of the first training: original_max_position_embeddings */
    double attention_factor;       /* of cosine and sine; 0: what the type says */
    double low, high;              /* llama3: low_freq_factor, high_freq_factor */
    double beta_fast, beta_slow;   /* yarn */
    double mscale, mscale_all_dim; /* yarn; 0: not given */
    bool truncate;                 /* yarn: correction dimensions are whole */
    double query_beta;             /* queries are scaled by 1 + beta ln(1 + floor(position / original)); 0: not */
    size_t n_factors;              /* longrope: R/2 */
    float short_factor[ROPE_MAX_PAIRS], long_factor[ROPE_MAX_PAIRS];
} rope_spec_t;

/* What a spec may hold for R rotated channels; `where` for messages. */
int rope_check(const rope_spec_t *r, size_t R, const char *where, err_t *err);
/* Angle per position of each of the R/2 pairs. long_: longrope's second factors. */
void rope_frequencies(const rope_spec_t *r, size_t R, bool long_, double *inv);
/* What cosines and sines are multiplied by. */
double rope_attention_factor(const rope_spec_t *r);
/* table[pos][i] = {cos, sin}(pos * inv[i]) times the attention factor, and for queries times their scale; positions x
 * R/2 x 2, computed in double. */
void rope_table(const rope_spec_t *r, size_t R, bool long_, bool queries, size_t positions, float *table);

#endif
