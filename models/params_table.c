#include "models/params_table.h"

#define BERT_EMBEDDINGS                                                                            \
    {P_WORD, "VE", "embeddings.word_embeddings.weight"},                                           \
        {P_TYPE, "YE", "embeddings.token_type_embeddings.weight"},                                 \
        {P_EMB_NORM_W, "E", "embeddings.LayerNorm.weight"},                                        \
    {                                                                                              \
        P_EMB_NORM_B, "E", "embeddings.LayerNorm.bias"                                             \
    }
#define BERT_POSITIONS                                                                             \
    {                                                                                              \
        P_POSITION, "PE", "embeddings.position_embeddings.weight"                                  \
    }
#define BERT_LAYER                                                                                 \
    {P_Q_W, "CC", "encoder.layer.#.attention.self.query.weight"},                                  \
        {P_Q_B, "C", "encoder.layer.#.attention.self.query.bias"},                                 \
        {P_K_W, "CC", "encoder.layer.#.attention.self.key.weight"},                                \
        {P_K_B, "C", "encoder.layer.#.attention.self.key.bias"},                                   \
        {P_V_W, "CC", "encoder.layer.#.attention.self.value.weight"},                              \
        {P_V_B, "C", "encoder.layer.#.attention.self.value.bias"},                                 \
        {P_O_W, "CC", "encoder.layer.#.attention.output.dense.weight"},                            \
        {P_O_B, "C", "encoder.layer.#.attention.output.dense.bias"},                               \
        {P_ATT_NORM_W, "C", "encoder.layer.#.attention.output.LayerNorm.weight"},                  \
        {P_ATT_NORM_B, "C", "encoder.layer.#.attention.output.LayerNorm.bias"},                    \
        {P_INNER_W, "FC", "encoder.layer.#.intermediate.dense.weight"},                            \
        {P_INNER_B, "F", "encoder.layer.#.intermediate.dense.bias"},                               \
        {P_OUTER_W, "CF", "encoder.layer.#.output.dense.weight"},                                  \
        {P_OUTER_B, "C", "encoder.layer.#.output.dense.bias"},                                     \
        {P_OUT_NORM_W, "C", "encoder.layer.#.output.LayerNorm.weight"},                            \
    {                                                                                              \
        P_OUT_NORM_B, "C", "encoder.layer.#.output.LayerNorm.bias"                                 \
    }

static const struct param_row bert_rows[] = {BERT_EMBEDDINGS, BERT_POSITIONS, BERT_LAYER};
static const struct param_row ernie_rows[] = {
    BERT_EMBEDDINGS,
    BERT_POSITIONS,
    {P_TASK, "KE", "embeddings.task_type_embeddings.weight"},
    BERT_LAYER};
static const struct param_row electra_rows[] = {BERT_EMBEDDINGS,
                                                BERT_POSITIONS,
                                                {P_EMB_PROJ_W, "CE", "embeddings_project.weight"},
                                                {P_EMB_PROJ_B, "C", "embeddings_project.bias"},
                                                BERT_LAYER};
static const struct param_row nezha_rows[] = {BERT_EMBEDDINGS, BERT_LAYER};

#define ALBERT "encoder.albert_layer_groups.@.albert_layers.%."
static const struct param_row albert_rows[] = {
    BERT_EMBEDDINGS,
    BERT_POSITIONS,
    {P_EMB_PROJ_W, "CE", "encoder.embedding_hidden_mapping_in.weight"},
    {P_EMB_PROJ_B, "C", "encoder.embedding_hidden_mapping_in.bias"},
    {P_Q_W, "CC", ALBERT "attention.query.weight"},
    {P_Q_B, "C", ALBERT "attention.query.bias"},
    {P_K_W, "CC", ALBERT "attention.key.weight"},
    {P_K_B, "C", ALBERT "attention.key.bias"},
    {P_V_W, "CC", ALBERT "attention.value.weight"},
    {P_V_B, "C", ALBERT "attention.value.bias"},
    {P_O_W, "CC", ALBERT "attention.dense.weight"},
    {P_O_B, "C", ALBERT "attention.dense.bias"},
    {P_ATT_NORM_W, "C", ALBERT "attention.LayerNorm.weight"},
    {P_ATT_NORM_B, "C", ALBERT "attention.LayerNorm.bias"},
    {P_INNER_W, "FC", ALBERT "ffn.weight"},
    {P_INNER_B, "F", ALBERT "ffn.bias"},
    {P_OUTER_W, "CF", ALBERT "ffn_output.weight"},
    {P_OUTER_B, "C", ALBERT "ffn_output.bias"},
    {P_OUT_NORM_W, "C", ALBERT "full_layer_layer_norm.weight"},
    {P_OUT_NORM_B, "C", ALBERT "full_layer_layer_norm.bias"},
};

static const struct param_row xlnet_rows[] = {
    {P_WORD, "VE", "word_embedding.weight"},
    {P_MASK_EMB, "11C", "mask_emb"},
    {P_Q_W, "CHD", "layer.#.rel_attn.q"},
    {P_K_W, "CHD", "layer.#.rel_attn.k"},
    {P_V_W, "CHD", "layer.#.rel_attn.v"},
    {P_O_W, "CHD", "layer.#.rel_attn.o"},
    {P_R_W, "CHD", "layer.#.rel_attn.r"},
    {P_R_W_BIAS, "HD", "layer.#.rel_attn.r_w_bias"},
    {P_R_R_BIAS, "HD", "layer.#.rel_attn.r_r_bias"},
    {P_R_S_BIAS, "HD", "layer.#.rel_attn.r_s_bias"},
    {P_SEGMENT, "2HD", "layer.#.rel_attn.seg_embed"},
    {P_ATT_NORM_W, "C", "layer.#.rel_attn.layer_norm.weight"},
    {P_ATT_NORM_B, "C", "layer.#.rel_attn.layer_norm.bias"},
    {P_INNER_W, "FC", "layer.#.ff.layer_1.weight"},
    {P_INNER_B, "F", "layer.#.ff.layer_1.bias"},
    {P_OUTER_W, "CF", "layer.#.ff.layer_2.weight"},
    {P_OUTER_B, "C", "layer.#.ff.layer_2.bias"},
    {P_OUT_NORM_W, "C", "layer.#.ff.layer_norm.weight"},
    {P_OUT_NORM_B, "C", "layer.#.ff.layer_norm.bias"},
};

#define T5_ATTENTION(q, k, v, o, norm, at, name)                                                   \
    {q, "AC", at name ".q.weight"}, {k, "AC", at name ".k.weight"},                                \
        {v, "AC", at name ".v.weight"}, {o, "CA", at name ".o.weight"},                            \
    {                                                                                              \
        norm, "C", at "layer_norm.weight"                                                          \
    }
#define T5_SELF(stack)                                                                             \
    T5_ATTENTION(P_Q_W, P_K_W, P_V_W, P_O_W, P_ATT_NORM_W, stack ".block.#.layer.0.",              \
                 "SelfAttention")
/* wi where it is not gated, wi_0 and wi_1 where it is: one of the first two is skipped. */
#define T5_INNER(at)                                                                               \
    {P_INNER_W, "FC", at "DenseReluDense.wi.weight"},                                              \
        {P_INNER_W, "FC", at "DenseReluDense.wi_0.weight"},                                        \
        {P_GATE_W, "FC", at "DenseReluDense.wi_1.weight"},                                         \
        {P_OUTER_W, "CF", at "DenseReluDense.wo.weight"},                                          \
    {                                                                                              \
        P_OUT_NORM_W, "C", at "layer_norm.weight"                                                  \
    }
#define T5_ONCE(stack)                                                                             \
    {P_FINAL_NORM_W, "C", stack ".final_layer_norm.weight"},                                       \
    {                                                                                              \
        P_BIAS_TABLE, "BH", stack ".block.0.layer.0.SelfAttention.relative_attention_bias.weight"  \
    }
static const struct param_row t5_rows[] = {{P_WORD, "VE", "shared.weight"},
                                           T5_ONCE("encoder"),
                                           T5_SELF("encoder"),
                                           T5_INNER("encoder.block.#.layer.1.")};
static const struct param_row t5_decoder_rows[] = {
    T5_ONCE("decoder"), T5_SELF("decoder"),
    T5_ATTENTION(P_CROSS_Q_W, P_CROSS_K_W, P_CROSS_V_W, P_CROSS_O_W, P_CROSS_NORM_W,
                 "decoder.block.#.layer.1.", "EncDecAttention"),
    T5_INNER("decoder.block.#.layer.2.")};

const struct param_row params_pooler[2] = {{P_POOL_W, "CC", "pooler.dense.weight"},
                                           {P_POOL_B, "C", "pooler.dense.bias"}};
const struct param_row params_albert_pooler[2] = {{P_POOL_W, "CC", "pooler.weight"},
                                                  {P_POOL_B, "C", "pooler.bias"}};

#define OUT(name)                                                                                  \
    {P_HEAD_W, "OC", name ".weight"},                                                              \
    {                                                                                              \
        P_HEAD_B, "O", name ".bias"                                                                \
    }
const struct head_rows params_dense_heads[PARAMS_DENSE_HEADS] = {
    {HEAD_ELECTRA,
     {{P_HEAD_DENSE_W, "CC", "classifier.dense.weight"},
      {P_HEAD_DENSE_B, "C", "classifier.dense.bias"},
      OUT("classifier.out_proj")}},
    {HEAD_T5,
     {{P_HEAD_DENSE_W, "CC", "classification_head.dense.weight"},
      {P_HEAD_DENSE_B, "C", "classification_head.dense.bias"},
      OUT("classification_head.out_proj")}},
    {HEAD_SUMMARY,
     {{P_HEAD_DENSE_W, "CC", "sequence_summary.summary.weight"},
      {P_HEAD_DENSE_B, "C", "sequence_summary.summary.bias"},
      OUT("logits_proj")}},
};
const struct param_row params_plain_heads[PARAMS_PLAIN_HEADS][2] = {
    {OUT("classifier")}, {OUT("fc")}, {OUT("head")}, {OUT("linear")}, {OUT("out")}};

#define MASKED(at, dense)                                                                          \
    {P_MASK_DENSE_W, "EC", at dense "dense.weight"}, {P_MASK_DENSE_B, "E", at dense "dense.bias"}, \
        {P_MASK_NORM_W, "E", at dense "LayerNorm.weight"},                                         \
        {P_MASK_NORM_B, "E", at dense "LayerNorm.bias"},                                           \
    {                                                                                              \
        P_MASK_BIAS, "V", at "bias"                                                                \
    }
static const struct param_row bert_masked[PARAMS_MASKED_ROWS] = {
    MASKED("cls.predictions.", "transform.")};
static const struct param_row albert_masked[PARAMS_MASKED_ROWS] = {MASKED("predictions.", "")};
const struct param_row *const params_masked_heads[FAMILIES] = {[FAMILY_BERT] = bert_masked,
                                                               [FAMILY_ERNIE] = bert_masked,
                                                               [FAMILY_NEZHA] = bert_masked,
                                                               [FAMILY_ALBERT] = albert_masked};

#define N(rows) rows, sizeof(rows) / sizeof *(rows)
const struct base_rows params_bases[FAMILIES] = {
    [FAMILY_BERT] = {{N(bert_rows)}, "embeddings.word_embeddings.weight", "bert."},
    [FAMILY_ERNIE] = {{N(ernie_rows)}, "embeddings.word_embeddings.weight", "ernie."},
    [FAMILY_ELECTRA] = {{N(electra_rows)}, "embeddings.word_embeddings.weight", "electra."},
    [FAMILY_ALBERT] = {{N(albert_rows)}, "embeddings.word_embeddings.weight", "albert."},
    [FAMILY_NEZHA] = {{N(nezha_rows)}, "embeddings.word_embeddings.weight", "nezha."},
    [FAMILY_XLNET] = {{N(xlnet_rows)}, "word_embedding.weight", "transformer."},
    [FAMILY_T5] = {{N(t5_rows)}, "shared.weight", "transformer."},
};

const struct stack_rows params_t5_decoder = {N(t5_decoder_rows)};
