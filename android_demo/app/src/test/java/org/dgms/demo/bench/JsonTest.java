package org.dgms.demo.bench;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.Test;

public class JsonTest {
  @Test
  public void keysKeepTheirOrder() throws Exception {
    Map<String, Object> map = new LinkedHashMap<String, Object>();
    map.put("z", 1);
    map.put("a", Arrays.asList(1.5, null, true));
    map.put("m", Collections.singletonList(Collections.singletonMap("k", "v")));
    map.put("e", Collections.emptyList());
    map.put("o", Collections.emptyMap());
    assertEquals(
        "{\n  \"z\": 1,\n  \"a\": [1.5, null, true],\n  \"m\": [\n    {\n      \"k\": \"v\"\n    }\n  ],\n"
            + "  \"e\": [],\n  \"o\": {}\n}\n",
        Json.write(map));
  }

  @Test
  public void everyCharacterSurvives() throws Exception {
    StringBuilder all = new StringBuilder();
    for (char c = 0; c < 0x250; c++) {
      all.append(c);
    }
    all.append("\u2028\u2029\ud83d\ude00\ud800 lone\uffff");
    String text = Json.write(Collections.singletonMap("text", all.toString()));
    assertEquals(all.toString(), Json.parseObject(text).get("text"));
  }

  @Test
  public void everyDoubleSurvives() throws Exception {
    double[] values = {0, 1, -1, 0.1, 1e-300, 1.7976931348623157e308, 4.9e-324, 1.0 / 3, 123456789.123456789};
    for (double value : values) {
      String text = Json.write(Collections.singletonMap("v", value));
      assertEquals(value, new JsonFields(Json.parseObject(text), "").number("v"), 0);
    }
    long big = (1L << 53) + 2;
    String text = Json.write(Collections.singletonMap("v", big));
    assertEquals(big, new JsonFields(Json.parseObject(text), "").integer("v"));
  }

  @Test
  public void whatJsonCannotHoldIsRefused() {
    for (Object value : new Object[] {Double.NaN, Double.POSITIVE_INFINITY, new Object()}) {
      assertThrows(
          IllegalArgumentException.class, () -> Json.write(Collections.singletonMap("v", value)));
    }
  }

  @Test
  public void damagedTextsAreRefused() {
    String[] damaged = {"", "{", "[]", "3", "{\"a\": }", "{\"a\": 1} {", "{\"a\": 1", "nonsense"};
    for (String text : damaged) {
      assertThrows(text, FormatException.class, () -> Json.parseObject(text));
    }
  }

  @Test
  public void deepNestingIsRefusedNotACrash() {
    StringBuilder deep = new StringBuilder("{\"a\":");
    for (int i = 0; i < 200000; i++) {
      deep.append('[');
    }
    assertThrows(FormatException.class, () -> Json.parseObject(deep.toString()));
  }

  @Test
  public void fieldsAreTyped() throws Exception {
    String text = "{\"i\": 3.0, \"h\": 0.5, \"s\": \"x\", \"l\": [1, \"y\"], \"n\": null}";
    JsonFields fields = new JsonFields(Json.parseObject(text), "at");
    assertEquals(3, fields.integer("i"));
    refused("at.h must be an integer. Received: 0.5", () -> fields.integer("h"));
    refused("at.s must be a number. Received: x", () -> fields.number("s"));
    refused("at.i must be a string. Received: 3", () -> fields.text("i"));
    refused("at.l[1] must be a number. Received: y", () -> fields.numbers("l"));
    refused("at.n must be an object. Received: nothing", () -> fields.object("n"));
    refused("at.s must be true or false. Received: x", () -> fields.flag("s"));
    assertTrue(fields.texts("n").isEmpty());
  }

  private static void refused(String message, org.junit.function.ThrowingRunnable code) {
    String received = assertThrows(FormatException.class, code).getMessage();
    assertTrue(received, received.startsWith(message));
  }
}
