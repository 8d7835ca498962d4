#include "model/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

#define PI 3.14159265358979323846

const char *const rope_type_names[ROPE_TYPES] = {
    [ROPE_DEFAULT] = "default", [ROPE_LINEAR] = "linear",     [ROPE_LLAMA3] = "llama3",
    [ROPE_YARN] = "yarn",       [ROPE_LONGROPE] = "longrope",
};

int rope_check(const rope_spec_t *r, size_t R, const char *where, err_t *err) {
    const struct {
        const char *key;
        double value, min, max;
    } rules[] = {
        {"rope_theta", r->theta, 1, 1e12},
        {"factor", r->type == ROPE_DEFAULT ? 1 : r->factor, 1e-3, 1e6},
        {"original_max_position_embeddings", r->type < ROPE_LLAMA3 && r->query_beta == 0 ? 1 : r->original, 1, 1e9},
        {"low_freq_factor", r->type == ROPE_LLAMA3 ? r->low : 1, 1e-6, 1e6},
        {"high_freq_factor", r->type == ROPE_LLAMA3 ? r->high : 1, 1e-6, 1e6},
        {"beta_fast", r->type == ROPE_YARN ? r->beta_fast : 1, 1e-6, 1e6},
        {"beta_slow", r->type == ROPE_YARN ? r->beta_slow : 1, 1e-6, 1e6},
        {"attention_factor", r->attention_factor, 0, 1e3},
        {"mscale", r->mscale, 0, 1e3},
        {"mscale_all_dim", r->mscale_all_dim, 0, 1e3},
        {"llama_4_scaling_beta", r->query_beta, 0, 1e3},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!(rules[i].value >= rules[i].min && rules[i].value <= rules[i].max))
            return err_set(err, ERR_USAGE, "%s: %s is %g; expected %g to %g", where, rules[i].key, rules[i].value,
                           rules[i].min, rules[i].max);
    if (r->type == ROPE_LLAMA3 && r->low >= r->high)
        return err_set(err, ERR_USAGE, "%s: low_freq_factor is %g; expected less than high_freq_factor, %g", where,
                       r->low, r->high);
    if (r->type == ROPE_YARN && r->theta <= 1)
        return err_set(err, ERR_USAGE, "%s: rope_theta is %g; expected more than 1 for yarn", where, r->theta);
    double attention = rope_attention_factor(r);
    if (!(attention > 0 && attention <= 1e3))
        return err_set(err, ERR_USAGE, "%s: RoPE scales queries and keys by %g; expected more than 0, at most 1000",
                       where, attention);
    if (r->type != ROPE_LONGROPE) return 0;
    if (r->n_factors != R / 2)
        return err_set(err, ERR_USAGE, "%s: longrope has %zu factors; expected one for each of %zu pairs", where,
                       r->n_factors, R / 2);
    for (size_t i = 0; i < r->n_factors; i++)
        if (!(r->short_factor[i] > 0 && r->short_factor[i] < 1e9f && r->long_factor[i] > 0 && r->long_factor[i] < 1e9f))
            return err_set(err, ERR_USAGE, "%s: factor %zu of longrope: expected more than 0, less than 1e9", where, i);
    return 0;
}

/* What turns less than once in `low` first trainings is slowed down by the factor, what turns more than `high` times is
 * left; between, both are mixed. */
static double llama3(const rope_spec_t *r, double inv) {
    double turns = r->original * inv / (2 * PI);
    if (turns > r->high) return inv;
    if (turns < r->low) return inv / r->factor;
    double t = (turns - r->low) / (r->high - r->low);
    return (1 - t) * inv / r->factor + t * inv;
}

/* The pair, as a real number, that turns n times in the first training. */
static double yarn_pair(const rope_spec_t *r, size_t R, double n) {
    return (double)R * log(r->original / (2 * PI * n)) / (2 * log(r->theta));
}

static void yarn(const rope_spec_t *r, size_t R, double *inv) {
    double low = yarn_pair(r, R, r->beta_fast), high = yarn_pair(r, R, r->beta_slow);
    if (r->truncate) low = floor(low), high = ceil(high);
    low = fmax(low, 0);
    high = fmin(high, (double)R - 1);
    if (low == high) high += 0.001;
    for (size_t i = 0; i < R / 2; i++) {
        double ramp = fmin(fmax(((double)i - low) / (high - low), 0), 1);
        inv[i] = inv[i] * (1 - ramp) + inv[i] / r->factor * ramp;
    }
}

void rope_frequencies(const rope_spec_t *r, size_t R, bool long_, double *inv) {
    for (size_t i = 0; i < R / 2; i++) inv[i] = pow(r->theta, -2.0 * (double)i / (double)R);
    for (size_t i = 0; i < R / 2; i++) {
        if (r->type == ROPE_LINEAR) inv[i] /= r->factor;
        if (r->type == ROPE_LLAMA3) inv[i] = llama3(r, inv[i]);
        if (r->type == ROPE_LONGROPE) inv[i] /= (double)(long_ ? r->long_factor : r->short_factor)[i];
    }
    if (r->type == ROPE_YARN) yarn(r, R, inv);
}

static double yarn_mscale(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; }

double rope_attention_factor(const rope_spec_t *r) {
    if (r->attention_factor > 0) return r->attention_factor;
    if (r->type == ROPE_YARN && r->mscale > 0 && r->mscale_all_dim > 0)
        return yarn_mscale(r->factor, r->mscale) / yarn_mscale(r->factor, r->mscale_all_dim);
    if (r->type == ROPE_YARN) return yarn_mscale(r->factor, 1);
    if (r->type == ROPE_LONGROPE && r->factor > 1) return sqrt(1 + log(r->factor) / log(r->original));
    return 1;
}

void rope_table(const rope_spec_t *r, size_t R, bool long_, bool queries, size_t positions, float *table) {
    size_t half = R / 2;
    double *inv = xmalloc(half * sizeof *inv), attention = rope_attention_factor(r);
    rope_frequencies(r, R, long_, inv);
    for (size_t p = 0; p < positions; p++) {
        double scale = attention;
        if (queries && r->query_beta != 0) scale *= 1 + r->query_beta * log(1 + floor((double)p / r->original));
        for (size_t i = 0; i < half; i++) {
            float *t = table + (p * half + i) * 2;
            t[0] = (float)(cos((double)p * inv[i]) * scale);
            t[1] = (float)(sin((double)p * inv[i]) * scale);
        }
    }
    free(inv);
}
