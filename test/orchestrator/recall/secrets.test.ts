import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findSecret } from "../../../src/orchestrator/recall/entry.ts";

// Concatenated, so that scanners of this repository don't find them.
const privateKey = ["PRIVATE", "KEY"].join(" ");
const digits = "123456789012";
const random = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5";

describe("a secret", () => {
  it.each([
    ["OpenAI", `sk-${random}`],
    ["OpenAI, of a project", `sk-proj-${random}_${random}`],
    ["Anthropic", `sk-ant-api03-${random}`],
    ["GitHub", `ghp_${random}`],
    ["GitHub, fine-grained", `github_pat_11${random}`],
    ["GitLab", `glpat-${random}`],
    ["AWS", `AKIA${digits}ABCD`],
    ["Slack", `xoxb-${digits}-abcdef`],
    ["Google", `AIza${random.slice(0, 35)}`],
    ["Hugging Face", `hf_${random.slice(0, 34)}`],
    ["PEM", `-----BEGIN RSA ${privateKey}-----\nMII`],
    ["OpenSSH", `-----BEGIN OPENSSH ${privateKey}-----`],
    ["JSON Web Token", `Bearer eyJ${random}.eyJ${random}.${random}`],
    ["Groq", `gsk_${random}${random}`],
    ["SendGrid", `SG.${random.slice(0, 22)}.${random}${digits}`],
    ["DigitalOcean", `dop_v1_${"a1".repeat(32)}`],
    ["a bearer token", `Authorization: Bearer ${random.slice(0, 24)}`],
    ["a password in a sentence", "my password is Xk29fLq8zR!"],
    ["a password in an address", "postgres://admin:s3cr3tPw@db.example.com/x"],
    ["a password", 'password = "Xk29fLq8zR!"'],
    ["a token in a configuration", `api_key: ${random}`],
    ["a key named as one", `database password=Xk29fLq8zR`],
    ["people", "the password is hunter2"],
    ["a thing", "the password of the NAS is Sunny-Day-7"],
    ["a German", "das Passwort lautet Sommer2024"],
    ["a Frenchman", "le mot de passe est tournesol44"],
    ["a Spaniard", "la contraseña es gato-1987"],
    ["an Italian", "la password è gatto_1987"],
    ["a Portuguese", "a senha é flor#77"],
    ["a Dutchman", "wachtwoord: bloem77"],
    ["a Pole", "hasło to kwiat77"],
    ["a Russian", "пароль: цветок77"],
    ["a Chinese", "我的密码是huahua77"],
    ["a Japanese", "パスワードはsakura77です"],
    ["a Korean", "비밀번호는 kkot1977"],
    ["a Wi-Fi network", "wifi HomeNet key blue-tree-77"],
    ["a Wi-Fi network, in German", "WLAN-Schlüssel: 48151623421008151623"],
    ["a Wi-Fi network, as its QR code has it", "WIFI:S:HomeNet;T:WPA;P:blue tree;;"],
    ["an account", "my IBAN is DE89 3704 0044 0532 0130 00"],
    ["an account, in one word", "GB82WEST12345698765432"],
    ["an account, in small letters", "fr14 2004 1010 0505 0001 3m02 606"],
  ])("of %s is found, even in the middle of a text", (_name, secret) => {
    expect(findSecret(secret)).toBeDefined();
    expect(findSecret(`remember that ${secret} is it`)).toBeDefined();
  });

  it.each(["NAS password: sunshine", "Kennwort für den Router: Apfelbaum", "nas password=sunshine\n"])(
    "is found in %j, where a plain word stands alone behind the colon",
    (text) => expect(findSecret(text)).toBe("a password"),
  );

  it.each([
    "I prefer helix to vim",
    "the password is in 1Password",
    "password: <your-password>",
    "token=${GITHUB_TOKEN}",
    "use risk-assessment-of-the-whole-portfolio-2026",
    "max tokens: 4096",
    "token budget = 2,500",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "see https://example.com/a/b?c=d and http://127.0.0.1:11434",
    "secret: the cat is called Tom",
    "tests use task-force-task-force-task-force",
    "api key: ~/.config/keys/openai",
    "api key = os.environ['KEY_2']",
    "tokens: input_tokens=1024,output=512",
    "access key: docs/keys/README.md#rotate",
    "sk-learn-contrib-imbalanced-learn is a library",
    "the token is in the vault; Authorization: Bearer <token>",
    "password manager: Bitwarden",
    "the password policy is: at least 12 characters",
    "password: string",
    "passwords are stored as argon2id hashes",
    "the password for staging is kept in the vault",
    "das Passwort steht im Tresor",
    "passwords are rotated every 90 days",
    "the wifi in the office is slow, use the cable",
    "the router key is the path of the page",
    "parola italiana del giorno: gatto",
    "DE89 3704 0044 0532 0130 01 has wrong check digits",
    "order DE12 3456 of 2026",
    "AT20 is a part number, SE24 too",
  ])("is not found in %j", (text) => {
    expect(findSecret(text)).toBeUndefined();
  });

  it("is found in linear time", () => {
    for (const unit of [
      "sk-",
      "eyJ.",
      "password=",
      "token is ",
      "bearer ",
      "SG.",
      "://a:",
      "-----BEGIN ",
      "token: : ",
      "password ",
      "wifi key ",
      "wifi",
      "DE89 ",
      "DE89",
      "WIFI:",
      "密码",
    ]) {
      const startedAt = performance.now();
      findSecret(unit.repeat(65_536 / unit.length));
      // Quadratic time would be minutes.
      expect(performance.now() - startedAt).toBeLessThan(2_000);
    }
  });

  it("is never part of the result", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9]{24,40}$/), (rest) => {
        expect(findSecret(`sk-${rest}7`)).toBe("an API key (sk-…)");
      }),
    );
  });
});
