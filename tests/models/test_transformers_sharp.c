/* The golden tests of transformers are tested: each particular of a row, switched off, must make
 * the comparison fail.  And what a checkpoint may not say is refused, by name. */
#include "tests/models/rows.h"

static const struct mutation {
    const char *row, *tensor; /* zeroed, or */
    const char *key, *value;  /* the key set */
} mutations[] = {
    {"bert", "position_embeddings.weight", NULL, NULL},
    {"bert", "embeddings.LayerNorm.weight", NULL, NULL},
    {"bert", "attention.output.dense.bias", NULL, NULL},
    {"bert", "layer.0.attention.output.LayerNorm.bias", NULL, NULL},
    {"bert", "layer.2.output.LayerNorm.weight", NULL, NULL},
    {"bert", "layer.2.output.dense.bias", NULL, NULL},
    {"bert", "pooler.dense.weight", NULL, NULL},
    {"bert-bare-pooler", "token_type_embeddings.weight", NULL, NULL},
    {"bert-fc", "pooler.dense.bias", NULL, NULL},
    {"bert-fc", "fc.bias", NULL, NULL},
    {"electra-fc", "fc.bias", NULL, NULL},
    {"xlnet-fc", "fc.bias", NULL, NULL},
    {"xlnet-fc", "seg_embed", NULL, NULL},
    {"bert", "token_type_embeddings.weight", NULL, NULL},
    {"bert", "embeddings.LayerNorm.bias", NULL, NULL},
    {"bert", "self.query.bias", NULL, NULL},
    {"bert", "self.value.bias", NULL, NULL},
    {"bert", "intermediate.dense.bias", NULL, NULL},
    {"bert", "pooler.dense.bias", NULL, NULL},
    {"bert", "classifier.bias", NULL, NULL},
    {"bert", NULL, "hidden_act", "\"gelu_new\""},
    {"bert", NULL, "hidden_act", "\"relu\""},
    {"bert", NULL, "layer_norm_eps", "0.001"},
    {"bert-odd", NULL, "hidden_act", "\"gelu\""},
    {"bert-bare", "position_embeddings.weight", NULL, NULL},
    {"mengzi", "classifier.bias", NULL, NULL},
    {"ernie", "task_type_embeddings.weight", NULL, NULL},
    {"ernie", "token_type_embeddings.weight", NULL, NULL},
    {"ernie", "position_embeddings.weight", NULL, NULL},
    {"ernie", NULL, "use_task_id", "false"},
    {"ernie", NULL, "layer_norm_eps", "0.001"},
    {"electra", "classifier.dense.bias", NULL, NULL},
    {"electra-small", "embeddings_project.bias", NULL, NULL},
    {"electra-small", "position_embeddings.weight", NULL, NULL},
    {"albert", NULL, "hidden_act", "\"gelu\""},
    {"albert", "embedding_hidden_mapping_in.bias", NULL, NULL},
    {"albert", "pooler.bias", NULL, NULL},
    {"albert", "full_layer_layer_norm.bias", NULL, NULL},
    {"albert-gelu", NULL, "hidden_act", "\"gelu_new\""},
    {"albert-gelu", "position_embeddings.weight", NULL, NULL},
    {"albert-groups", NULL, "hidden_act", "\"gelu\""},
    {"albert-groups", "albert_layer_groups.1.albert_layers.1.ffn.bias", NULL, NULL},
    {"albert-groups", "albert_layer_groups.1.albert_layers.0.attention.dense.bias", NULL, NULL},
    {"nezha", NULL, "max_relative_position", "7"},
    {"nezha", NULL, "max_relative_position", "64"},
    {"nezha", NULL, "max_relative_position", "1"},
    {"nezha", "token_type_embeddings.weight", NULL, NULL},
    {"xlnet", "r_w_bias", NULL, NULL},
    {"xlnet", "r_r_bias", NULL, NULL},
    {"xlnet", "r_s_bias", NULL, NULL},
    {"xlnet", "seg_embed", NULL, NULL},
    {"xlnet", "rel_attn.r", NULL, NULL},
    {"xlnet", "summary.bias", NULL, NULL},
    {"xlnet", NULL, "ff_activation", "\"gelu\""},
    {"xlnet-gelu", NULL, "ff_activation", "\"gelu_new\""},
    {"t5", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", NULL, NULL},
    {"t5", "EncDecAttention.o.weight", NULL, NULL},
    {"t5", "encoder.final_layer_norm.weight", NULL, NULL},
    {"t5", "decoder.final_layer_norm.weight", NULL, NULL},
    {"t5", "classification_head.dense.bias", NULL, NULL},
    {"t5", NULL, "feed_forward_proj", "\"gelu\""},
    {"t5", NULL, "layer_norm_epsilon", "0.001"},
    {"t5", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", NULL, NULL},
    {"t5", "decoder.block.0.layer.1.layer_norm.weight", NULL, NULL},
    {"t5", NULL, "relative_attention_max_distance", "30"},
    {"t5", NULL, "decoder_start_token_id", "3"},
    {"t5", NULL, "rubric_decoder", "\"start\""},
    {"mt5", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", NULL, NULL},
    {"mt5", NULL, "feed_forward_proj", "\"gated-relu\""},
    {"mt5", "decoder.block.1.layer.1.EncDecAttention.v.weight", NULL, NULL},
};

static void test_sharpness(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        const struct mutation *m = &mutations[i];
        copy_row(m->row);
        if (m->tensor && alter(m->tensor, false) < 1)
            fail_msg("%s: no tensor ends in %s", m->row, m->tensor);
        if (m->key)
            set_key(m->key, m->value);
        double e = error_of(scratch_dir(), m->row, PRECISION_FP32);
        if (e <= ROWS_TOLERANCE)
            fail_msg("%s without %s%s: off by %.2g only, and passes", m->row,
                     m->tensor ? m->tensor : "", m->key ? m->key : "", e);
    }
}

/* The same for particulars that are code, in the reference's code: what it gives without one
 * ("without.…") is further from the truth than the comparison lets pass, so an engine without it
 * would be told.  Each row that has such particulars is here. */
static void test_broken_reference(void **state)
{
    (void)state;
    static const struct {
        const char *row;
        int n;
    } has[] = {{"bert", 2},  {"mengzi", 1}, {"electra", 1}, {"nezha", 3},
               {"xlnet", 4}, {"t5", 3},     {"mt5", 1}};
    for (size_t i = 0; i < sizeof has / sizeof *has; i++) {
        struct safetensors *st = expected_of(has[i].row);
        const struct tensor_set *set = safetensors_tensors(st);
        int32_t n;
        float *right = golden_copy(st, "logits", DT_F32, &n);
        int found = 0;
        for (size_t k = 0; k < set->n; k++) {
            if (strncmp(set->tensors[k].name, "without.", 8) != 0)
                continue;
            float *wrong = golden_copy(st, set->tensors[k].name, DT_F32, NULL);
            double worst = 0, largest = 0;
            for (int32_t j = 0; j < n; j++) {
                worst = fmax(worst, fabs((double)wrong[j] - right[j]));
                largest = fmax(largest, fabs(right[j]));
            }
            if (worst <= 3 * ROWS_TOLERANCE * largest)
                fail_msg("%s %s: off by %.2g only", has[i].row, set->tensors[k].name,
                         worst / largest);
            free(wrong);
            found++;
        }
        assert_int_equal(found, has[i].n);
        free(right);
        safetensors_close(st);
    }
}

static void refused(const char *text)
{
    struct err err;
    struct model *m = NULL;
    assert_int_equal(model_open(scratch_dir(), PRECISION_FP32, &m, &err), -1);
    assert_null(m);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *row, *tensor, *key, *value, *says;
    } cases[] = {
        {"bert", "encoder.layer.1.output.dense.weight", NULL, NULL,
         "bert.encoder.layer.1.output.dense.weight"},
        {"bert", "embeddings.word_embeddings.weight", NULL, NULL, "none of its"},
        {"bert", "pooler.dense.weight", NULL, NULL, "pooler.dense.weight"},
        {"ernie", "task_type_embeddings.weight", NULL, NULL, "task_type_embeddings.weight"},
        {"xlnet", "layer.2.rel_attn.seg_embed", NULL, NULL, "layer.2.rel_attn.seg_embed"},
        {"t5", "decoder.block.0.layer.1.EncDecAttention.k.weight", NULL, NULL, "EncDecAttention.k"},
        {"bert", NULL, "hidden_size", "64", "expected shape"},
        {"bert", NULL, "intermediate_size", "65", "expected shape [65, 32], found [64, 32]"},
        {"bert", NULL, "num_hidden_layers", "4", "encoder.layer.3."},
        {"bert", NULL, "num_attention_heads", "5", "no multiple of 5 heads"},
        {"bert", NULL, "hidden_act", "\"swish\"", "the activation \"swish\" is not known"},
        {"bert", NULL, "position_embedding_type", "\"relative_key\"", "relative_key"},
        {"bert", NULL, "model_type", "\"roberta\"", "\"roberta\" is unknown"},
        {"bert", NULL, "vocab_size", "\"many\"", "vocab_size"},
        {"bert", NULL, "layer_norm_eps", "-1", "layer_norm_eps"},
        {"bert", NULL, "id2label", "{\"0\": \"one\", \"1\": \"two\"}", "10 outputs"},
        {"bert", NULL, "id2label", "{\"0\": \"one\", \"2\": \"two\"}", "no name for \"1\""},
        {"albert-groups", NULL, "num_hidden_groups", "3", "no multiple of"},
        {"xlnet", NULL, "attn_type", "\"uni\"", "only \"bi\""},
        {"xlnet", NULL, "summary_type", "\"first\"", "only \"last\""},
        {"xlnet", NULL, "untie_r", "false", "untie_r"},
        {"t5", NULL, "feed_forward_proj", "\"gated-silu\"", "silu"},
        {"t5", NULL, "rubric_decoder", "\"none\"", "shifted or start"},
        {"t5", NULL, "decoder_start_token_id", "4000", "decoder_start_token_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_row(cases[i].row);
        if (cases[i].tensor)
            assert_true(alter(cases[i].tensor, true) >= 1);
        if (cases[i].key)
            set_key(cases[i].key, cases[i].value);
        refused(cases[i].says);
    }
}

/* Files of other ages and hands: the same model under other names. */
static void test_other_names(void **state)
{
    (void)state;
    /* A revision of ERNIE 3.0 calls itself a BERT. */
    copy_row("ernie");
    set_key("model_type", "\"bert\"");
    set_key("use_task_id", NULL);
    assert_true(error_of(scratch_dir(), "ernie", PRECISION_FP32) <= ROWS_TOLERANCE);
    /* One of NEZHA does, and says so by a key. */
    copy_row("nezha");
    set_key("model_type", "\"bert\"");
    set_key("use_relative_position", "true");
    assert_true(error_of(scratch_dir(), "nezha", PRECISION_FP32) <= ROWS_TOLERANCE);
    /* The very first files have no model_type. */
    copy_row("bert");
    set_key("model_type", NULL);
    set_key("layer_norm_eps", NULL);
    set_key("pad_token_id", NULL);
    assert_true(error_of(scratch_dir(), "bert", PRECISION_FP32) <= ROWS_TOLERANCE);
    /* mT5 is T5 with a gated layer. */
    copy_row("mt5");
    set_key("model_type", "\"t5\"");
    assert_true(error_of(scratch_dir(), "mt5", PRECISION_FP32) <= ROWS_TOLERANCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sharpness),
        cmocka_unit_test(test_broken_reference),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_other_names),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
