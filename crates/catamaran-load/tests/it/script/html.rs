//! Pages taken apart, forms sent, links followed.

use catamaran_testkit::{Origin, Reply};

use super::{once, play, url_of};

const PAGE: &str = r#"<!doctype html><html><head><title>A &amp; B</title><style>p > a { }</style></head>
<body><!-- <a href="/no"> --><h1 class="big first" data-own-id="7" data-on=true>Hello<br>World</h1>
<ul id=list><li>one<li class='odd'>two<li><a href="/next?x=1" title="a>b">three</a></ul>
<p>first<p>second <b>bold</b> &lt;x&gt; &#228;&#x20AC;
<form id="f" method="post" action="sub/send"><input name="a" value="1 ä"><input type=checkbox name=c>
<input type=checkbox name=d checked="checked"><input type=checkbox name=x checked><select name=s><option>x<option value=yy selected>y</select>
<textarea name=t>text
more</textarea><input type="submit" name="go" value="Go"></form>
<form id="g"><input name="q" value="find"></form>
<script>if (1 < 2) { document.write("<p>no</p>"); }</script></body></html>"#;

fn origin() -> Origin {
    Origin::http(|request| {
        let path = request.target.split('?').next().unwrap_or_default();
        match path {
            "/a/page" if request.target == "/a/page" => Reply::new(200, PAGE),
            _ => {
                let body = String::from_utf8_lossy(&request.body.content).into_owned();
                Reply::new(200, format!("{} {} {body}", request.method, request.target))
            }
        }
    })
    .start()
    .unwrap()
}

#[test]
fn pages_are_taken_apart_by_selectors() {
    let origin = origin();
    let body = r#"
        const doc = http.get(`${url}/a/page`).html();
        const text = (selector) => doc.find(selector).text();
        const texts = (selector) => doc.find(selector).toArray().map((one) => one.text().trim());
        same([text('title'), text('h1')], ['A & B', 'HelloWorld']);
        same(texts('#list > li'), ['one', 'two', 'three']);
        same(texts('p'), ['first', 'second bold <x> ä€']);
        same([texts('li:first-child'), texts('li:nth-child(2n)'), texts('li.odd + li'), texts('li:not(.odd)')],
            [['one'], ['two'], ['three'], ['one', 'three']]);
        same([texts('h1.big.first'), texts('[title^="a"]'), texts('ul a, b'), texts('li:contains("tw")')],
            [['HelloWorld'], ['three'], ['three', 'bold'], ['two']]);
        same([doc.find('a').size(), doc.find('a').attr('href'), doc.find('a').attr('none', 'usual')], [1, '/next?x=1', 'usual']);
        same([doc.find('h1').data('ownId'), doc.find('h1').data()], [7, { ownId: 7, on: true }]);
        same(doc.find('ul').html(), '<li>one</li><li class="odd">two</li><li><a href="/next?x=1" title="a>b">three</a></li>');
        const items = doc.find('li');
        same([items.eq(1).text(), items.last().text(), items.first().next().text(), items.eq(-1).prev().text().trim()], ['two', 'three', 'two', 'two']);
        same([items.filter('.odd').length, items.not('.odd').length, items.has('a').index(), items.is('.odd')], [1, 2, 2, true]);
        same(items.filter((index) => index > 0).text(), 'twothree');
        same(items.map((index, one) => `${index}${one.text().trim()}`), ['0one', '1two', '2three']);
        let seen = '';
        items.each((index, element) => { seen += element.textContent().trim().length; });
        same(seen, '335');
        same([doc.find('a').parent().parent().attr('id'), doc.find('a').closest('ul').size(), doc.find('a').parents().size()], ['list', 1, 4]);
        same([doc.find('ul').children().size(), doc.find('ul').children('.odd').size(), items.first().siblings().size()], [3, 1, 2]);
        same([doc.find('[name=s]').val(), doc.find('[name=t]').val(), doc.find('[name=a]').val()], ['yy', 'text\nmore', '1 ä']);
        same(doc.find('#f').serialize(), 'a=1+%C3%A4&d=on&s=yy&t=text%0Amore');
        same(doc.find('#f').serializeObject().s, 'yy');
        same(http.get(`${url}/a/page`).html('li').size(), 3);
        same(parseHTML('<p>own</p>').find('p').text(), 'own');
        same(parseHTML('<p>a').find('p').get(0).innerHTML(), 'a');
        same(thrown(() => doc.find('li:nope')), 'the selector :nope is not supported; filter with a function');
        same(thrown(() => doc.find('li[')).includes('is no selector'), true);
        for (const broken of ['<', '<a', '<a href="', '</p></p>', '<!--', '<script>x', '<p <p>', '&', '&#xffffffff;', '<td><tr>']) parseHTML(broken).text();
    "#;
    play(
        &once("import { parseHTML } from 'k6/html';", body),
        &url_of(&origin),
    )
    .is_well();
}

#[test]
fn forms_are_sent_and_links_are_followed() {
    let origin = origin();
    let body = r#"
        const page = http.get(`${url}/a/page`);
        same(page.submitForm({ fields: { c: 'set', a: '2' } }).body, 'POST /a/sub/send a=2&c=set&d=on&go=Go&s=yy&t=text%0Amore');
        same(page.submitForm({ formSelector: '#g', params: { headers: { A: 'b' } } }).body, 'GET /a/page?q=find ');
        same(page.clickLink().body, 'GET /next?x=1 ');
        same(page.clickLink({ selector: 'li a' }).url, `${url}/next?x=1`);
        same(thrown(() => page.clickLink({ selector: 'b a' })).includes("no element found for selector 'b a'"), true);
        same(thrown(() => page.clickLink({ selector: 'b' })).includes('no valid href'), true);
        same(thrown(() => page.submitForm({ formSelector: '.none' })).includes("no form found for selector '.none'"), true);
    "#;
    play(&once("", body), &url_of(&origin)).is_well();
}
