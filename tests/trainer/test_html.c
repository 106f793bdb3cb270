/* html.h: nothing from outside ends or begins an element. */
#include "trainer/html.h"

#include "tests/trainer/xml.h"

static void expect(const char *in, const char *out)
{
    struct buf b;
    buf_init(&b, 1000);
    html_text(&b, in);
    assert_string_equal(b.len ? b.data : "", out);
    buf_done(&b);
}

static void text(void **state)
{
    (void)state;
    expect("", "");
    expect("体育 sports", "体育 sports");
    expect("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
    expect("a\" onload=\"b", "a&quot; onload=&quot;b");
    expect("&amp;", "&amp;amp;");
    expect("\x01\x1b[31m\x7f", "\xef\xbf\xbd\xef\xbf\xbd[31m\xef\xbf\xbd");
    expect("\xc2\x85", "\xef\xbf\xbd");                             /* C1 */
    expect("\xff\xe4\xbd", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* broken UTF-8 */
    expect("\xef\xbf\xbe\xef\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd");
    expect("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
}

static void name(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    html_name(&b, "\xe2\x80\xae</bdi>");
    assert_string_equal(b.data, "<bdi>\xe2\x80\xae&lt;/bdi&gt;</bdi>");
    assert_int_equal(xml_check(b.data), 1);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(text), cmocka_unit_test(name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
