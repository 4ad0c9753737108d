"""The words the sandbox world is made of: names, cities, streets, products. All people and firms are invented."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

# fmt: off


class City(NamedTuple):
    """A city and how its addresses look. `postcode` uses # for a digit and @ for a letter."""

    name: str
    name_local: str
    region: str
    postcode: str
    latitude: float
    longitude: float


class Market(NamedTuple):
    """One country the company sells to. `vat` is the goods tax rate; `mobile` a phone pattern with # for a digit."""

    country: str
    currency: str
    language: str
    vat: Decimal
    mobile: str
    cities: tuple[City, ...]
    streets: tuple[tuple[str, str], ...]  # (Latin, local script)
    family_names: tuple[tuple[str, str], ...]  # (Latin, Han or "")
    given_names: tuple[tuple[str, str], ...]
    mail_domains: tuple[str, ...]


CN = Market(
    "CN", "CNY", "zh", Decimal("0.13"), "+8613#########",
    (
        City("Shanghai", "上海市", "Shanghai", "2000##", 31.2304, 121.4737),
        City("Beijing", "北京市", "Beijing", "1000##", 39.9042, 116.4074),
        City("Guangzhou", "广州市", "Guangdong", "5100##", 23.1291, 113.2644),
        City("Shenzhen", "深圳市", "Guangdong", "5180##", 22.5431, 114.0579),
        City("Hangzhou", "杭州市", "Zhejiang", "3100##", 30.2741, 120.1551),
        City("Chengdu", "成都市", "Sichuan", "6100##", 30.5728, 104.0668),
        City("Nanjing", "南京市", "Jiangsu", "2100##", 32.0603, 118.7969),
        City("Wuhan", "武汉市", "Hubei", "4300##", 30.5928, 114.3055),
    ),
    (
        ("Nanjing West Road", "南京西路"), ("Zhongshan Road", "中山路"), ("Renmin Road", "人民路"),
        ("Jianguo Road", "建国路"), ("Huaihai Road", "淮海路"), ("Wensan Road", "文三路"),
        ("Tianfu Avenue", "天府大道"), ("Beijing East Road", "北京东路"), ("Xinhua Road", "新华路"),
    ),
    (
        ("Wang", "王"), ("Li", "李"), ("Zhang", "张"), ("Liu", "刘"), ("Chen", "陈"), ("Yang", "杨"),
        ("Huang", "黄"), ("Zhao", "赵"), ("Wu", "吴"), ("Zhou", "周"), ("Xu", "徐"), ("Sun", "孙"),
        ("Ma", "马"), ("Zhu", "朱"), ("Hu", "胡"), ("Guo", "郭"), ("He", "何"), ("Lin", "林"),
        ("Gao", "高"), ("Luo", "罗"), ("Lü", "吕"), ("Ouyang", "欧阳"), ("Zhuge", "诸葛"), ("Xie", "谢"),
    ),
    (
        ("Wei", "伟"), ("Fang", "芳"), ("Na", "娜"), ("Min", "敏"), ("Jing", "静"), ("Lei", "磊"),
        ("Yang", "洋"), ("Yong", "勇"), ("Yan", "艳"), ("Jie", "杰"), ("Xiaoming", "晓明"),
        ("Xiuying", "秀英"), ("Zihan", "子涵"), ("Haoran", "浩然"), ("Yutong", "雨桐"), ("Siqi", "思琪"),
        ("Jiahui", "佳慧"), ("Mengyao", "梦瑶"), ("Junjie", "俊杰"), ("Tianyu", "天宇"), ("Xinyi", "欣怡"),
        ("Ruoxi", "若曦"), ("Jianguo", "建国"), ("Guihua", "桂花"), ("Yilin", "依琳"), ("Zhiqiang", "志强"),
        ("Shufen", "淑芬"), ("Bowen", "博文"), ("Wenjing", "文静"), ("Chenxi", "晨曦"),
    ),
    ("qmail.example", "126post.example", "foxletter.example", "inbox.example"),
)

GB = Market(
    "GB", "GBP", "en", Decimal("0.20"), "+4474########",
    (
        City("London", "London", "England", "SW# #@@", 51.5074, -0.1278),
        City("Manchester", "Manchester", "England", "M# #@@", 53.4808, -2.2426),
        City("Bristol", "Bristol", "England", "BS# #@@", 51.4545, -2.5879),
        City("Edinburgh", "Edinburgh", "Scotland", "EH# #@@", 55.9533, -3.1883),
        City("Leeds", "Leeds", "England", "LS# #@@", 53.8008, -1.5491),
        City("Cardiff", "Cardiff", "Wales", "CF# #@@", 51.4816, -3.1791),
    ),
    tuple((s, s) for s in ("High Street", "Church Lane", "Victoria Road", "Station Road", "Queen's Gate",
                           "Mill Lane", "King Street", "St John's Road", "Albert Terrace", "Park Avenue")),
    tuple((n, "") for n in ("Smith", "Jones", "Taylor", "Brown", "Williams", "Wilson", "Johnson", "Davies", "Patel",
                            "Wright", "O'Connor", "MacDonald", "Ashworth-Hale", "Okafor", "Hughes", "Khan", "Baker",
                            "Thompson", "Fitzgerald", "Nwosu", "Carter", "Bennett")),
    tuple((n, "") for n in ("Oliver", "Amelia", "George", "Isla", "Harry", "Ava", "Noah", "Emily", "Jack", "Sophie",
                            "Elizabeth", "Katherine", "William", "Margaret", "Siân", "Zoë", "Chidi", "Priya", "James",
                            "Charlotte", "Thomas", "Grace")),
    ("postbox.example", "mailhouse.example", "inbox.example"),
)

DE = Market(
    "DE", "EUR", "de", Decimal("0.19"), "+49151########",
    (
        City("Berlin", "Berlin", "Berlin", "101##", 52.5200, 13.4050),
        City("München", "München", "Bayern", "803##", 48.1351, 11.5820),
        City("Hamburg", "Hamburg", "Hamburg", "200##", 53.5511, 9.9937),
        City("Köln", "Köln", "Nordrhein-Westfalen", "506##", 50.9375, 6.9603),
        City("Düsseldorf", "Düsseldorf", "Nordrhein-Westfalen", "402##", 51.2277, 6.7735),
    ),
    tuple((s, s) for s in ("Hauptstraße", "Schillerstraße", "Bahnhofstraße", "Goethestraße", "Müllerweg",
                           "Lindenallee", "Königstraße", "Gärtnerweg")),
    tuple((n, "") for n in ("Müller", "Schmidt", "Schneider", "Fischer", "Weber", "Becker", "Schäfer", "Krüger",
                            "Groß", "Köhler", "Jäger", "Vogel", "von Bülow", "Yılmaz", "Hoffmann", "Böhm")),
    tuple((n, "") for n in ("Jürgen", "Anna", "Björn", "Katharina", "Lukas", "Sophie", "Günther", "Marie", "Felix",
                            "Jörg", "Käthe", "Leonie", "Maximilian", "Ayşe", "Stefan", "Ursula")),
    ("briefkasten.example", "netzpost.example", "inbox.example"),
)

FR = Market(
    "FR", "EUR", "fr", Decimal("0.20"), "+336########",
    (
        City("Paris", "Paris", "Île-de-France", "750##", 48.8566, 2.3522),
        City("Lyon", "Lyon", "Auvergne-Rhône-Alpes", "690##", 45.7640, 4.8357),
        City("Bordeaux", "Bordeaux", "Nouvelle-Aquitaine", "330##", 44.8378, -0.5792),
        City("Nîmes", "Nîmes", "Occitanie", "300##", 43.8367, 4.3601),
    ),
    tuple((s, s) for s in ("rue de la République", "avenue Victor Hugo", "rue Émile Zola", "place du Marché",
                           "boulevard Voltaire", "rue de l'Église", "chemin des Prés")),
    tuple((n, "") for n in ("Martin", "Bernard", "Lefèvre", "Dubois", "Moreau", "Léger", "Girard", "D'Angelo",
                            "François", "Mercier", "Benoît", "Le Goff", "Hervé", "Diallo", "Gauthier")),
    tuple((n, "") for n in ("Éléonore", "Jean-Luc", "Chloé", "Hélène", "Théo", "Camille", "Zoé", "François",
                            "Inès", "Léa", "Mathieu", "Océane", "Aïcha", "Benoît", "Noémie")),
    ("poste-lettre.example", "courrier.example", "inbox.example"),
)

US = Market(
    "US", "USD", "en", Decimal("0.0725"), "+1212#######",
    (
        City("New York", "New York", "NY", "100##", 40.7128, -74.0060),
        City("Los Angeles", "Los Angeles", "CA", "900##", 34.0522, -118.2437),
        City("Chicago", "Chicago", "IL", "606##", 41.8781, -87.6298),
        City("Portland", "Portland", "OR", "972##", 45.5152, -122.6784),
        City("Austin", "Austin", "TX", "787##", 30.2672, -97.7431),
        City("Seattle", "Seattle", "WA", "981##", 47.6062, -122.3321),
    ),
    tuple((s, s) for s in ("Main Street", "Oak Avenue", "Maple Drive", "Washington Boulevard", "Elm Street",
                           "Lakeview Court", "2nd Avenue", "Cedar Lane", "Sunset Boulevard")),
    tuple((n, "") for n in ("Smith", "Johnson", "Garcia", "Miller", "Davis", "Rodriguez", "Martinez", "Anderson",
                            "Nguyen", "Lee", "Kim", "O'Brien", "Washington", "Cohen", "Lopez", "Van Dyke", "Brooks",
                            "Ramirez", "Schwartz", "Walker", "Patel", "Young")),
    tuple((n, "") for n in ("Michael", "Jennifer", "Robert", "Elizabeth", "David", "Jessica", "Christopher", "Sarah",
                            "José", "Emma", "Ethan", "Katherine", "Brandon", "Olivia", "Daniel", "Mia", "William",
                            "Ashley", "Matthew", "Sofía", "Tyler", "Hannah")),
    ("mailbird.example", "postbox.example", "inbox.example"),
)

JP = Market(
    "JP", "JPY", "ja", Decimal("0.10"), "+8190########",
    (
        City("Tokyo", "東京都", "Tokyo", "150-00##", 35.6762, 139.6503),
        City("Osaka", "大阪市", "Osaka", "530-00##", 34.6937, 135.5023),
        City("Kyoto", "京都市", "Kyoto", "604-80##", 35.0116, 135.7681),
    ),
    (("Shibuya", "渋谷"), ("Ginza", "銀座"), ("Umeda", "梅田"), ("Kawaramachi", "河原町"), ("Jingumae", "神宮前")),
    (("Sato", "佐藤"), ("Suzuki", "鈴木"), ("Takahashi", "高橋"), ("Tanaka", "田中"), ("Ito", "伊藤"),
     ("Watanabe", "渡辺"), ("Yamamoto", "山本"), ("Kobayashi", "小林"), ("Kato", "加藤"), ("Ono", "小野")),
    (("Haruto", "陽翔"), ("Yui", "結衣"), ("Sakura", "桜"), ("Ren", "蓮"), ("Taro", "太郎"), ("Hanako", "花子"),
     ("Yuki", "雪"), ("Kenji", "健二"), ("Aoi", "葵"), ("Shinichi", "真一")),
    ("yubin.example", "inbox.example"),
)

SG = Market(
    "SG", "USD", "en", Decimal("0.09"), "+659#######",
    (City("Singapore", "Singapore", "Singapore", "2388##", 1.3521, 103.8198),),
    tuple((s, s) for s in ("Orchard Road", "Serangoon Road", "Bukit Timah Road", "Jurong East Street 13",
                           "Tampines Avenue 4")),
    (("Tan", "陈"), ("Lim", "林"), ("Lee", "李"), ("Ng", "黄"), ("Wong", "王"), ("Goh", "吴"), ("Kumar", ""),
     ("Rahman", ""), ("Chua", "蔡"), ("Teo", "张")),
    (("Wei Ling", "伟玲"), ("Jun Hao", "俊豪"), ("Hui Min", "慧敏"), ("Siti", ""), ("Arjun", ""),
     ("Xin Yi", "欣怡"), ("Kai Wen", "凯文"), ("Mei Fen", "美芬")),
    ("lionmail.example", "inbox.example"),
)

ES = Market(
    "ES", "EUR", "es", Decimal("0.21"), "+346########",
    (
        City("Madrid", "Madrid", "Madrid", "280##", 40.4168, -3.7038),
        City("Barcelona", "Barcelona", "Cataluña", "080##", 41.3874, 2.1686),
        City("Málaga", "Málaga", "Andalucía", "290##", 36.7213, -4.4214),
    ),
    tuple((s, s) for s in ("Calle Mayor", "Avenida de la Constitución", "Calle del Río", "Plaza de España",
                           "Carrer d'Aragó")),
    tuple((n, "") for n in ("García López", "Núñez", "Fernández", "Martínez", "Muñoz", "Ibáñez", "Peña", "Gómez")),
    tuple((n, "") for n in ("María", "José", "Lucía", "Andrés", "Sofía", "Íñigo", "Begoña", "Álvaro")),
    ("correo.example", "inbox.example"),
)

MARKETS: dict[str, Market] = {m.country: m for m in (CN, GB, DE, FR, US, JP, SG, ES)}

US_SALES_TAX = {"NY": Decimal("0.08875"), "CA": Decimal("0.095"), "IL": Decimal("0.1025"), "OR": Decimal("0"),
                "TX": Decimal("0.0825"), "WA": Decimal("0.1025")}

MINOR_UNIT_DIGITS = {"CNY": 2, "GBP": 2, "EUR": 2, "USD": 2, "JPY": 0}

# The company's own price-list rates (units of the currency for one CNY): a price list, not a market rate.
PRICE_LIST_RATE = {"CNY": Decimal(1), "GBP": Decimal("0.115"), "EUR": Decimal("0.132"), "USD": Decimal("0.145"),
                   "JPY": Decimal("21.5")}

# (Latin stem, Han stem) of invented firms and what they do.
COMPANY_STEMS = (
    ("Liyan", "丽颜"), ("Hengrui", "恒瑞"), ("Jinhua", "锦华"), ("Yuntai", "云泰"), ("Baihe", "百合"), ("Ruixiang", "瑞祥"),
    ("Dongfang", "东方"), ("Haitian", "海天"), ("Meilin", "美邻"), ("Xinghe", "星河"), ("Qiming", "启明"), ("Fuyuan", "福源"),
)
COMPANY_TRADES_CN = (("Cosmetics", "化妆品"), ("Trading", "商贸"), ("Food", "食品"), ("Import & Export", "进出口"),
                     ("Supply Chain", "供应链"))
COMPANY_NAMES = {
    "GB": ("Bramble & Thorne", "Harrow Beauty", "Northgate Deli", "Kestrel Retail", "Pennine Foods", "Willow Spa"),
    "DE": ("Bergmann Feinkost", "Nordlicht Kosmetik", "Grünwald Handel", "Rheinfrisch", "Löwenapotheke Vertrieb"),
    "FR": ("Maison Lavande", "Épicerie Fontaine", "Beauté Océane", "Halles du Rhône", "Comptoir d'Été"),
    "US": ("Bluebird Wellness", "Harbor Grocers", "Summit Spa Supply", "Prairie Market", "Golden State Beauty"),
    "SG": ("Merlion Lifestyle", "Raffles Provisions", "Straits Beauty", "Katong Foods"),
}
COMPANY_FORMS = {"GB": ("Ltd", "Limited", "LLP"), "DE": ("GmbH", "GmbH & Co. KG", "AG"), "FR": ("SARL", "SAS"),
                 "US": ("Inc.", "LLC", "Corp."), "SG": ("Pte. Ltd.", "Pte Ltd")}

# Short forms people type for given names.
NICKNAMES = {"Elizabeth": "Liz", "Katherine": "Kate", "William": "Will", "Margaret": "Maggie", "Robert": "Bob",
             "Michael": "Mike", "Jennifer": "Jen", "Christopher": "Chris", "Matthew": "Matt", "Daniel": "Dan",
             "Thomas": "Tom", "Charlotte": "Charlie", "David": "Dave", "Maximilian": "Max", "Katharina": "Kathi"}


class ProductLine(NamedTuple):
    """A product before its sizes. `price` is the CNY list price of the first size; sizes are (qty, uom, pack)."""

    title: str
    title_zh: str
    brand: int  # index into BRANDS
    category: str
    price: int
    sizes: tuple[tuple[str, str, int], ...]
    cold_chain: bool
    shelf_life_days: int | None
    origin: str


BRANDS = (("Luna Botanica", "露娜植萃"), ("Maison Aubépine", "山楂之家"), ("North Tide", "北汐"),
          ("Yunmu", "云牧"), ("Green Larder", "绿仓"))

_CREAM = (("30", "MLT", 1), ("50", "MLT", 1), ("50", "MLT", 2), ("100", "MLT", 1), ("200", "MLT", 1))
_BOTTLE = (("100", "MLT", 1), ("200", "MLT", 1), ("500", "MLT", 1), ("500", "MLT", 2), ("1", "LTR", 1))
_SMALL = (("15", "MLT", 1), ("30", "MLT", 1), ("30", "MLT", 2), ("50", "MLT", 1))
_TUB = (("150", "GRM", 1), ("150", "GRM", 4), ("500", "GRM", 1))
_LITRE = (("500", "MLT", 1), ("1", "LTR", 1), ("1", "LTR", 6))
_BAG = (("250", "GRM", 1), ("500", "GRM", 1), ("1", "KGM", 1))

PRODUCT_LINES = (
    ProductLine("Rosehip Face Cream", "玫瑰果面霜", 0, "COS-FACE", 188, _CREAM, False, 1095, "CN"),
    ProductLine("Rose Face Cream", "玫瑰面霜", 1, "COS-FACE", 228, _CREAM, False, 1095, "FR"),
    ProductLine("Hydrating Serum", "补水精华液", 0, "COS-FACE", 268, _SMALL, False, 730, "CN"),
    ProductLine("Vitamin C Serum", "维C精华液", 2, "COS-FACE", 298, _SMALL, False, 365, "JP"),
    ProductLine("Cleansing Foam", "洁面泡沫", 0, "COS-FACE", 98, _CREAM, False, 1095, "CN"),
    ProductLine("Micellar Water", "卸妆水", 1, "COS-FACE", 89, _BOTTLE, False, 1095, "FR"),
    ProductLine("Green Tea Toner", "绿茶爽肤水", 0, "COS-FACE", 118, _BOTTLE, False, 1095, "CN"),
    ProductLine("Sunscreen SPF 50", "防晒霜 SPF50", 2, "COS-SUN", 128, _CREAM, False, 1095, "JP"),
    ProductLine("Lavender Hand Cream", "薰衣草护手霜", 1, "COS-BODY", 68, _CREAM, False, 1095, "FR"),
    ProductLine("Lavender Body Lotion", "薰衣草身体乳", 1, "COS-BODY", 108, _BOTTLE, False, 1095, "FR"),
    ProductLine("Sea Salt Shampoo", "海盐洗发水", 2, "COS-HAIR", 79, _BOTTLE, False, 1095, "GB"),
    ProductLine("Sea Salt Conditioner", "海盐护发素", 2, "COS-HAIR", 82, _BOTTLE, False, 1095, "GB"),
    ProductLine("Argan Hair Oil", "摩洛哥坚果护发油", 1, "COS-HAIR", 158, _SMALL, False, 730, "MA"),
    ProductLine("Clay Mask", "清洁泥膜", 0, "COS-FACE", 138, _CREAM, False, 1095, "CN"),
    ProductLine("Peptide Eye Cream", "多肽眼霜", 0, "COS-FACE", 318, _SMALL, False, 730, "CN"),
    ProductLine("Citrus Shower Gel", "柑橘沐浴露", 2, "COS-BODY", 72, _BOTTLE, False, 1095, "GB"),
    ProductLine("Camellia Cleansing Oil", "山茶卸妆油", 0, "COS-FACE", 148, _BOTTLE, False, 1095, "CN"),
    ProductLine("Greek Yoghurt", "希腊酸奶", 3, "FOOD-DAIRY", 18, _TUB, True, 28, "CN"),
    ProductLine("Fresh Whole Milk", "鲜牛奶", 3, "FOOD-DAIRY", 16, _LITRE, True, 10, "CN"),
    ProductLine("Cream Cheese", "奶油奶酪", 3, "FOOD-DAIRY", 26, _TUB, True, 90, "NZ"),
    ProductLine("Salted Butter", "有盐黄油", 3, "FOOD-DAIRY", 32, _BAG, True, 120, "FR"),
    ProductLine("Smoked Salmon", "烟熏三文鱼", 4, "FOOD-FISH", 78, _BAG, True, 30, "NO"),
    ProductLine("Fresh Tagliatelle", "新鲜意大利宽面", 4, "FOOD-PASTA", 28, _BAG, True, 35, "IT"),
    ProductLine("Pork & Chive Dumplings", "韭菜猪肉水饺", 4, "FOOD-READY", 36, _BAG, True, 60, "CN"),
    ProductLine("Silken Tofu", "嫩豆腐", 4, "FOOD-READY", 9, _TUB, True, 14, "CN"),
    ProductLine("Ginger Kombucha", "生姜康普茶", 4, "FOOD-DRINK", 19, _LITRE, True, 90, "GB"),
    ProductLine("Cold-Pressed Orange Juice", "冷榨橙汁", 4, "FOOD-DRINK", 29, _LITRE, True, 21, "ES"),
    ProductLine("Hummus", "鹰嘴豆泥", 4, "FOOD-READY", 22, _TUB, True, 30, "GB"),
    ProductLine("Mature Cheddar", "熟成切达奶酪", 3, "FOOD-DAIRY", 45, _BAG, True, 180, "GB"),
)

# Kits: (title, Han title, brand, category, ((line index, size index, quantity), ...)).
KITS = (
    ("Rosehip Starter Set", "玫瑰果入门套装", 0, "COS-KIT", ((0, 1, 1), (4, 1, 1), (6, 0, 1))),
    ("Lavender Gift Box", "薰衣草礼盒", 1, "COS-KIT", ((8, 1, 1), (9, 1, 1))),
    ("Sea Salt Hair Duo", "海盐洗护两件套", 2, "COS-KIT", ((10, 2, 1), (11, 2, 1))),
    ("Travel Minis", "旅行三件套", 2, "COS-KIT", ((15, 0, 1), (10, 0, 1), (7, 0, 1))),
    ("Glow Trio", "焕亮三件套", 0, "COS-KIT", ((2, 1, 1), (14, 0, 1), (13, 0, 2))),
)

SIZE_ZH = {"MLT": "毫升", "LTR": "升", "GRM": "克", "KGM": "千克", "C62": "件"}
SIZE_EN = {"MLT": "ml", "LTR": "l", "GRM": "g", "KGM": "kg", "C62": "pcs"}

REGION_ZH = {"Shanghai": "上海市", "Beijing": "北京市", "Guangdong": "广东省", "Zhejiang": "浙江省",
             "Sichuan": "四川省", "Jiangsu": "江苏省", "Hubei": "湖北省"}
